"""The names that users import, the aliases of version 0.1, `python -m`, and the platforms."""

import importlib
import runpy
import subprocess
import sys

import pytest

import mlflow_plugin

NAMES = (
    "ActivePhase",
    "NeedsAnswer",
    "Option",
    "PhaseError",
    "Plan",
    "SupersededRun",
    "UsageError",
    "Verdict",
    "find_reusable",
    "plan",
    "start_phase",
)
ACCOUNTING = (
    "Estimate",
    "Gpu",
    "Hardware",
    "PastRun",
    "Price",
    "cost_usd",
    "describe_cost",
    "describe_duration",
    "detect_hardware",
    "estimate",
    "price_per_hour",
    "usage",
)


def run_as_command(module: str, *arguments: str) -> object:
    """Run a module as `python -m` does, in this process, and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    return ended.value.code


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_importable_and_listed(name: str) -> None:
    value = getattr(mlflow_plugin, name)
    assert value.__name__ == name
    assert value.__module__.startswith("mlflow_plugin.")


def test_the_list_of_public_names_is_complete() -> None:
    assert sorted(mlflow_plugin.__all__) == sorted(NAMES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'mlflow_plugin' has no attribute 'lots'"):
        getattr(mlflow_plugin, "lots")  # noqa: B009


def test_loss_is_a_deprecated_alias_of_superseded_run() -> None:
    with pytest.deprecated_call(match=r"mlflow_plugin\.Loss is now SupersededRun"):
        loss = mlflow_plugin.Loss
    assert loss is mlflow_plugin.SupersededRun


def test_accounting_is_a_deprecated_module_with_all_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "mlflow_plugin.accounting", raising=False)
    with pytest.deprecated_call(match=r"mlflow_plugin\.accounting is now mlflow_plugin\.decision\.estimate"):
        accounting = importlib.import_module("mlflow_plugin.accounting")
    assert sorted(accounting.__all__) == sorted(ACCOUNTING)
    assert all(hasattr(accounting, name) for name in ACCOUNTING)


@pytest.mark.parametrize("module", ["mlflow_plugin", "mlflow_plugin.cli"])
def test_the_package_runs_as_the_command(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_as_command(module, "--help") == 0
    output = capsys.readouterr().out
    assert output.startswith("Usage: mlflow-phases [OPTIONS] COMMAND")
    assert "rollback" in output


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_command_of_a_pipeline_explains_how_to_start_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_as_command("mlflow_plugin.pipeline") == 2
    message = capsys.readouterr().err
    assert message.startswith("mlflow-phases: this is the command of a pipeline entry point")
    assert "mlflow run . -e main" in message


def test_windows_is_refused_in_one_sentence() -> None:
    script = "import sys; sys.platform = 'win32'; import mlflow_plugin"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("ImportError: mlflow-phases does not run on Windows, because the file locks and signals")
    assert "WSL" in last
