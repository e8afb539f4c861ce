"""Projects whose scripts know nothing of the plugin: what their `phase:` keys give them, with real runs."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import NoReturn

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from mlflow_plugin import NeedsAnswer, Verdict, find_reusable, plan
from mlflow_plugin.cli import main
from mlflow_plugin.store.artifacts import local_folder

pytestmark = pytest.mark.end_to_end

DOCS = Path(__file__).resolve().parents[3] / "docs"
ORIGINAL = DOCS / "example_project"
WITH_FILES = DOCS / "example_files"
LOCATIONS = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}


def edit(file: Path, before: str, after: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")


def run(project: Path, entry_point: str = "main", **parameters: object) -> str:
    """Run an entry point with `-b phases`; return the id of its run."""
    submitted = mlflow.projects.run(str(project), entry_point, parameters=parameters, backend="phases")
    assert submitted.wait()
    return submitted.run_id


def phases_of(pipeline_run_id: str) -> dict[str, Run]:
    """Return the runs nested below a pipeline's run, by phase."""
    nested = MlflowClient().search_runs(["0"], f"tags.`mlflow.parentRunId` = '{pipeline_run_id}'")
    return {one.data.tags["phase.name"]: one for one in nested}


def verdicts_of(pipeline_run_id: str) -> dict[str, str]:
    return {name: one.data.tags["phase.verdict"] for name, one in phases_of(pipeline_run_id).items()}


def planned(project: Path, **parameters: object) -> dict[str, Verdict]:
    return {verdict.phase: verdict for verdict in plan(project, "main", parameters).verdicts}


def relocate(database: Path, before: Path, after: Path) -> None:
    """Let a copied tracking store find its artifacts in the copy."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column in LOCATIONS.items():
            query = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            connection.execute(query, (str(before), str(after)))


@pytest.fixture(scope="module")
def finished_store(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """Compute all phases once, as a person's first run would; return the folder of that store."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copyfile(empty_database, folder / "mlflow.db")
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ?", (str(folder / "artifacts"),))
    project = shutil.copytree(ORIGINAL, folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        assert verdicts_of(run(project)) == {"prepare": "run", "train": "run", "evaluate": "run"}
    return folder


@pytest.fixture
def project(store: str, finished_store: Path, tmp_path: Path) -> Path:
    """Return a copy of the project, with a tracking store in force in which all its phases are finished."""
    folder = tmp_path / "store"
    shutil.copytree(finished_store / "artifacts", folder / "artifacts", dirs_exist_ok=True)
    shutil.copyfile(finished_store / "mlflow.db", folder / "mlflow.db")
    relocate(folder / "mlflow.db", finished_store, folder)
    return shutil.copytree(ORIGINAL, tmp_path / "elsewhere")


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError(f"a process was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def test_no_script_of_the_projects_imports_the_plugin() -> None:
    scripts = [*ORIGINAL.glob("*.py"), *WITH_FILES.glob("*.py")]
    assert len(scripts) == 5
    assert not [script for script in scripts if "mlflow_plugin" in script.read_text(encoding="utf-8")]


def test_the_page_shows_the_projects_as_they_are() -> None:
    page = (DOCS / "any_project.md").read_text(encoding="utf-8")
    differences = re.findall(r"^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for project, difference in zip((WITH_FILES, ORIGINAL), differences, strict=True):
        after = [line[1:] for line in difference.splitlines() if not line.startswith("-")]
        assert after == (project / "MLproject").read_text(encoding="utf-8").splitlines()
    lines = (WITH_FILES / "train.py").read_text(encoding="utf-8").splitlines()
    for shown in re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        assert {line.strip() for line in shown.splitlines()} <= {line.strip() for line in lines}


def test_files_that_a_script_opens_by_literal_paths_count(store: str, tmp_path: Path) -> None:
    project = shutil.copytree(WITH_FILES, tmp_path / "wine")
    table, settings = project / "wine.csv", project / "settings.yaml"
    whole = table.read_bytes()
    first = run(project, "train")
    verdict = find_reusable(project, "train")
    assert (verdict.action, verdict.run_id) == ("reuse", first)
    assert verdict.reasons[0].endswith("all 2 files that it read are unchanged")

    table.write_bytes(b"".join(whole.splitlines(keepends=True)[:90]))
    second = run(project, "train")
    tags = MlflowClient().get_run(second).data.tags
    assert tags["phase.verdict"] == "run"
    assert f"train {first[:8]} read wine.csv, which has changed since" in tags["phase.reason"]

    edit(settings, "penalty: 1.0", "penalty: 0.1")
    verdict = find_reusable(project, "train")
    assert (verdict.action, verdict.reasons[0]) == (
        "run",
        f"train {second[:8]} read settings.yaml, which has changed since",
    )
    done = CliRunner().invoke(main, ["explain", "train", "--project", str(project)])
    states = {tuple(line.split()[:3]) for line in done.output.splitlines()}
    assert {("code", "train.py", "same"), ("file", "settings.yaml", "changed"), ("file", "wine.csv", "same")} <= states

    table.write_bytes(whole)
    edit(settings, "penalty: 0.1", "penalty: 1.0")
    verdict = find_reusable(project, "train")
    assert (verdict.action, verdict.run_id) == ("reuse", first)


@pytest.mark.usefixtures("no_process")
def test_finished_phases_are_reused_from_another_folder_without_starting_a_process(project: Path) -> None:
    phases = phases_of(run(project))
    assert {one.data.tags["phase.verdict"] for one in phases.values()} == {"reuse"}
    train = phases["train"]
    assert train.data.metrics["phase.saved_seconds"] > 0
    original = MlflowClient().get_run(train.data.tags["phase.reused_run_id"])
    assert train.data.metrics["validation_accuracy"] == original.data.metrics["validation_accuracy"] > 0.95


@pytest.mark.usefixtures("no_process")
def test_a_comment_costs_nothing(project: Path) -> None:
    edit(project / "train.py", "# A wide kernel is a small gamma.", "# The kernel is as wide as that.\n\n")
    assert set(verdicts_of(run(project)).values()) == {"reuse"}


def test_an_edited_helper_runs_the_phases_that_import_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit(project / "features.py", "images / 16.0", "images / 8.0 - 1.0")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
        asked = planned(project)["train"]
    assert (asked.action, asked.kind) == ("ask", "downstream")
    assert "the code of features.py" in " ".join(asked.reasons)
    cheap = planned(project)["train"]
    assert cheap.action == "run"
    assert "this supersedes train" in cheap.reasons[1]
    verdicts = verdicts_of(run(project))
    assert verdicts == {"prepare": "reuse", "train": "run", "evaluate": "run"}


def test_a_changed_parameter_asks_with_the_price_of_each_option(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)  # Nobody is there to answer, also where the tests run at a terminal.
    cheap = planned(project, penalty="1")["train"]
    assert cheap.action == "run"
    assert "this makes evaluate" in cheap.reasons[1]
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
    question = planned(project, penalty="1")["train"]
    assert question.reasons[1].endswith("differs in penalty (10 -> 1)")
    keep, rerun, beside, cancel = question.options
    assert (beside.reruns, cancel.decide) == (("train",), "fail")
    assert [loss.phase for loss in rerun.supersedes] == ["evaluate"]
    assert (keep.reruns, rerun.reruns) == ((), ("train", "evaluate"))
    assert rerun.seconds is not None
    assert rerun.seconds > 1
    with pytest.raises(NeedsAnswer, match=r"B\) mlflow run .* -P penalty=1 -P decide=rerun"):
        run(project, penalty="1")


@pytest.mark.parametrize("penalty", ["1e1", "10", "10.0"])
def test_a_parameter_written_otherwise_is_the_same(project: Path, penalty: str) -> None:
    assert {verdict.action for verdict in planned(project, penalty=penalty).values()} == {"reuse"}


@pytest.mark.parametrize("phase", ["prepare", "train"])
def test_a_forced_re_run_with_the_same_bytes_invalidates_nothing(project: Path, phase: str) -> None:
    before = planned(project)
    again = run(project, phase, decide="rerun")
    assert MlflowClient().get_run(again).data.tags["phase.verdict"] == "run"
    after = planned(project)
    assert {verdict.action for verdict in after.values()} == {"reuse"}
    assert after["evaluate"].run_id == before["evaluate"].run_id
    assert f"{phase} {again[:8]}" in " ".join(after["evaluate"].reasons)


def test_the_quality_is_the_metric_that_the_run_itself_logged(project: Path) -> None:
    verdict = find_reusable(project, "train")
    assert verdict.run_id is not None
    logged = MlflowClient().get_run(verdict.run_id).data.metrics["validation_accuracy"]
    assert (verdict.action, verdict.quality) == ("reuse", logged)
    MlflowClient().log_metric(verdict.run_id, "validation_accuracy", 0.9)  # Too late to count.
    edit(project / "MLproject", "good: 0.95", "good: 0.999")
    verdict = find_reusable(project, "train")
    assert (verdict.action, verdict.kind, verdict.quality) == ("ask", "borderline", logged)


def test_a_failed_gate_asks(project: Path) -> None:
    assert find_reusable(project, "evaluate").action == "reuse"
    edit(project / "MLproject", "test_accuracy > naive_bayes_accuracy", "test_accuracy < naive_bayes_accuracy")
    verdict = find_reusable(project, "evaluate")
    assert (verdict.action, verdict.kind) == ("ask", "gate")


def test_a_logged_model_is_an_output_and_its_loss_runs_that_phase_alone(project: Path) -> None:
    client = MlflowClient()
    trained = find_reusable(project, "train").run_id
    assert trained is not None
    [model] = client.get_run(trained).outputs.model_outputs
    files = local_folder(client.get_logged_model(model.model_id).artifact_location)
    assert files is not None
    (files / "MLmodel").unlink()
    assert find_reusable(project, "train").reasons[0].endswith("models/classifier/MLmodel is gone")
    assert verdicts_of(run(project)) == {"prepare": "reuse", "train": "run", "evaluate": "reuse"}


def test_a_process_finds_its_inputs_in_parameters_and_environment(project: Path) -> None:
    given = '{name: value for name, value in os.environ.items() if name.startswith("PHASE_")} | vars(options)'
    edit(project / "evaluate.py", "import argparse", "import argparse\nimport os")
    edit(project / "evaluate.py", "mlflow.start_run():", f"mlflow.start_run():\n        mlflow.set_tags({given})")
    inputs = {need: find_reusable(project, need).run_id for need in ("prepare", "train")}
    tags = MlflowClient().get_run(run(project, "evaluate")).data.tags
    for need, run_id in inputs.items():
        assert tags[f"phase.input.{need}"] == tags[f"PHASE_INPUT_{need.upper()}"] == tags[f"{need}_run_id"] == run_id


def test_the_project_still_runs_under_mlflow_alone(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    prepared = find_reusable(project, "prepare").run_id
    own = mlflow.projects.run(
        str(project), "train", parameters={"prepare_run_id": prepared}, backend="local", env_manager="local"
    )
    data = MlflowClient().get_run(own.run_id).data
    assert data.metrics["validation_accuracy"] > 0.95
    assert not [name for name in data.tags if name.startswith("phase.")]
