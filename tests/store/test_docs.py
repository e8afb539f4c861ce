"""The pages under docs/ stay true: their examples run, and what they list is what there is."""

import json
import re
from pathlib import Path

import pytest

from mlflow_plugin.decision.rules import RULES
from mlflow_plugin.machine.prices import PACKAGE_TABLE
from mlflow_plugin.project.mlproject import _CheckpointKeys, _PhaseKeys, _QualityKeys
from mlflow_plugin.store import schema

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)


def text_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def run_examples(page: str, folder: Path) -> int:
    """Write the titled blocks of a page as files, execute its Python in order; return how many blocks were executed."""
    seen, executed = {"__name__": page}, 0
    for language, title, content in BLOCK.findall(text_of(page)):
        if title:
            (folder / title).write_text(content, encoding="utf-8")
        elif language == "python":
            exec(compile(content, f"{page}, example {executed + 1}", "exec"), seen)
            executed += 1
    return executed


@pytest.mark.end_to_end
def test_the_examples_of_the_python_page_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", None)  # Nobody is there to answer, also where the tests run at a terminal.
    assert run_examples("python.md", tmp_path) == 6


def test_the_examples_of_the_cost_page_run(tmp_path: Path) -> None:
    assert run_examples("costs.md", tmp_path) == 1


@pytest.mark.end_to_end
def test_the_examples_of_the_checkpoint_page_run(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples("checkpoints.md", tmp_path) == 1


@pytest.mark.end_to_end
def test_the_example_of_the_trainer_page_runs(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples("trainer.md", tmp_path) == 1


def test_the_examples_of_the_guardrails_page_run(tmp_path: Path) -> None:
    assert run_examples("guardrails.md", tmp_path) == 1


def test_the_cost_page_shows_the_price_table_of_the_package() -> None:
    table = json.loads(PACKAGE_TABLE.read_text(encoding="utf-8"))
    rows = [*table["gpus"], {"name": "one CPU core (no GPU)", **table["cpu_core"]}]
    expected = [f"| {row['name']} | {row['usd_per_hour']:g} | {row['source']} | {row['as_of']} |" for row in rows]
    shown = [line for line in text_of("costs.md").splitlines() if re.match(r"\| [^|]+ \| [\d.]+ \|", line)]
    assert shown == expected


def test_every_name_that_is_written_to_the_store_is_explained() -> None:
    page = text_of("verdicts.md")
    written = {name: value for name, value in vars(schema).items() if name.isupper() and isinstance(value, str)}
    assert len(written) > 30
    assert not {name: value for name, value in written.items() if f"`{value}" not in page}


def test_every_kind_of_verdict_and_every_rule_is_explained() -> None:
    page = text_of("verdicts.md")
    code = (ROOT / "mlflow_plugin" / "decision" / "rules.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'kind="(\w+)"', code)) | set(re.findall(r'_ask\(evidence, "(\w+)"', code))
    assert {"same", "stale", "old", "downstream", "nothing"} <= kinds
    assert not {kind for kind in kinds if f"`{kind}`" not in page}
    rules = page.partition("## What makes two runs the same")[0]
    numbered = {int(number) for number in re.findall(r"^\| (\d+) \|", rules, re.MULTILINE)}
    assert numbered == set(range(1, len(RULES) + 2))  # the last one is for when no rule speaks


@pytest.mark.parametrize("key", [*_PhaseKeys.model_fields, *_QualityKeys.model_fields, *_CheckpointKeys.model_fields])
def test_every_key_of_a_phase_is_explained(key: str) -> None:
    assert f"`{key}`" in text_of("mlproject_keys.md")


def test_the_architecture_page_names_the_modules_that_there_are() -> None:
    package = ROOT / "mlflow_plugin"
    modules = {file.relative_to(package).as_posix() for file in package.rglob("*.py")}
    documented = {module for module in modules if not module.endswith("/__init__.py")}
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## Where things are")[2]
    named = re.findall(r"`([\w/]+\.py)`", table.partition("| elsewhere |")[0])
    assert sorted(named) == sorted(documented)
