"""`mlflow run` on PostgreSQL and S3: killed in mid-training, started again, it ends as if nothing had happened.

tests/nightly repeats it on every other kind of store.
"""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.entities import Run
from processes import run_words, started, wait_until
from project_folder import PHASES, ProjectFolder

from tests.nightly.faults.child import PROJECT
from tests.nightly.faults.training import CHECKPOINT_TAG, HISTORIES, make_reference
from tests.servers.stores import BucketFiles, Store

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

HELD, SAVED = 5, "step-000004"
# Its checkpoints take 15 and 10 MB: above 8 MB, S3 gets a file in parts.
PARAMETERS = {"seed": 3, "steps": 8, "every": 2, "width": 20_000}


@pytest.fixture
def store_kind() -> str:
    """Return the kind of store on which checkpoints take a path of their own: S3 gets a large file in parts."""
    return "s3"


@pytest.fixture
def here(
    store_kind: str,
    stores: Callable[[str], Store],
    project: ProjectFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> Store:
    """Put the store in force, with an experiment of its own, for what runs in the project's folder."""
    found = stores(store_kind)
    for name, value in {**found.variables, "MLFLOW_EXPERIMENT_ID": found.new_experiment()}.items():
        monkeypatch.setenv(name, value)
    shutil.copytree(PROJECT, project.folder, dirs_exist_ok=True)
    return found


def newest(store: Store, experiment: str) -> Run:
    return store.client.search_runs([experiment], order_by=["attributes.start_time DESC"])[0]


def steps(report: Path) -> dict[int, str]:
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    return {line["step"]: line["digest"] for line in lines if "step" in line}


def test_a_training_that_was_killed_ends_as_if_nothing_had_happened(
    here: Store, project: ProjectFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, words = os.environ["MLFLOW_EXPERIMENT_ID"], run_words("train", PHASES, **PARAMETERS)
    reference = make_reference(here, tmp_path / "reference", **PARAMETERS)
    reports = [tmp_path / name / "report.jsonl" for name in ("killed", "resumed", "reused")]
    for report in reports:
        report.parent.mkdir()

    reports[0].with_name("hold").touch()
    with started(project, *words, MLFLOW_TESTS_REPORT=str(reports[0]), MLFLOW_TESTS_HOLD_AT=str(HELD)) as running:
        wait_until(lambda: HELD in steps(reports[0]) or running.process.poll() is not None, "in mid-training")
        assert running.process.poll() is None, running.text
        killed = newest(here, experiment)
        wait_until(lambda: newest(here, experiment).data.tags.get(CHECKPOINT_TAG) == SAVED, f"{SAVED} is saved")
        running.signal_all(signal.SIGKILL)
        running.wait()
    files = here.files(killed.info.run_id)
    assert f"checkpoints/{SAVED}/manifest.json" in files.paths()
    if isinstance(files, BucketFiles):
        assert files.etag(f"checkpoints/{SAVED}/tensors.safetensors").endswith("-2")

    monkeypatch.setenv("MLFLOW_TESTS_REPORT", str(reports[1]))
    assert project.run("train", PHASES, **PARAMETERS).exit_code == 0
    resumed = newest(here, experiment)
    assert min(steps(reports[1])) == 4
    assert {**steps(reports[0]), **steps(reports[1])} == reference.steps
    assert resumed.data.tags["phase.resumed_from"] == killed.info.run_id
    assert resumed.data.tags["phase.output_digest"] == reference.result
    for name in HISTORIES:
        history = here.client.get_metric_history(resumed.info.run_id, name)
        assert sorted((one.step, one.value) for one in history) == reference.histories[name]

    monkeypatch.setenv("MLFLOW_TESTS_REPORT", str(reports[2]))
    assert project.run("train", PHASES, **PARAMETERS).exit_code == 0
    assert newest(here, experiment).data.tags["phase.reused_run_id"] == resumed.info.run_id
    assert not reports[2].exists()
