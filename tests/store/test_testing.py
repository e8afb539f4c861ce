"""The fakes of `mlflow_plugin.testing`, which users and the tests here rely on."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.machine import liveness
from mlflow_plugin.store import run_encoding
from mlflow_plugin.testing import FakeClock, TemporaryStore, preempted_after, run_phase, temporary_store
from tests.store.test_docs import run_examples

MLPROJECT = """name: small
entry_points:
  train:
    parameters:
      text: {type: string, default: a}
    command: "python train.py {text}"
    phase: {}
  by_module:
    command: "python -m train by-module"
    phase: {}
  by_shell:
    command: "sh train.sh"
    phase: {}
"""
HELPER = "VALUE = 'NAME'\n"
SCRIPT = """import sys
from helper import VALUE
from mlflow_plugin import start_phase
with start_phase() as phase:
    if sys.argv[1] == "bad":
        raise ValueError("the data is upside down")
    if sys.argv[1] == "early":
        sys.exit(5)
    phase.output("text", lambda path: path.write_text(f"{sys.argv[1]} {VALUE}"))
"""


def write_project(folder: Path, name: str = "one") -> Path:
    folder.mkdir()
    files = {"MLproject": MLPROJECT, "train.py": SCRIPT, "helper.py": HELPER.replace("NAME", name)}
    for file, text in files.items():
        (folder / file).write_text(text)
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Iterator[TemporaryStore]:
    with temporary_store(tmp_path / "store") as store:
        yield store


def text_of(run: mlflow.entities.Run) -> str:
    return (Path(run.info.artifact_uri) / "outputs" / "text").read_text()


def test_the_examples_of_the_testing_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_examples("testing.md", tmp_path) == 3


def test_a_temporary_store_is_in_force_inside_its_block_alone_and_then_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///of-the-user.db")
    with temporary_store() as store:
        assert mlflow.get_tracking_uri() == os.environ["MLFLOW_TRACKING_URI"] == store.uri
        with mlflow.start_run() as run:
            mlflow.log_text("here", "text")
        assert Path(store.client.get_run(run.info.run_id).info.artifact_uri).is_relative_to(store.folder)
        assert [one.info.run_id for one in store.runs()] == [run.info.run_id]
    assert os.environ["MLFLOW_TRACKING_URI"] == "sqlite:///of-the-user.db"
    assert not store.folder.exists()


def test_two_temporary_stores_share_nothing(tmp_path: Path) -> None:
    with temporary_store(tmp_path / "first") as first, mlflow.start_run():
        assert len(first.runs()) == 1
    with temporary_store(tmp_path / "second") as second:
        assert second.runs() == []


def test_a_phase_runs_here_as_mlflow_run_would_run_it(here: TemporaryStore, tmp_path: Path) -> None:
    before, folder = dict(os.environ), Path.cwd()
    result = run_phase(write_project(tmp_path / "project"), "train", text="a b; $c")
    assert (result.exit_code, text_of(result.run)) == (0, "a b; $c one")
    assert result.run.data.tags["phase.verdict"] == "run"
    assert (dict(os.environ), Path.cwd()) == (before, folder)


def test_a_phase_runs_here_by_the_name_of_its_module(here: TemporaryStore, tmp_path: Path) -> None:
    assert text_of(run_phase(write_project(tmp_path / "project"), "by_module").run) == "by-module one"


def test_modules_of_one_project_are_not_taken_for_those_of_the_next(here: TemporaryStore, tmp_path: Path) -> None:
    texts = [text_of(run_phase(write_project(tmp_path / name, name), "train").run) for name in ("one", "two")]
    assert texts == ["a one", "a two"]
    assert "helper" not in sys.modules


def test_a_script_that_fails_here_fails_its_run(here: TemporaryStore, tmp_path: Path) -> None:
    project = write_project(tmp_path / "project")
    with pytest.raises(ValueError, match="upside down"):
        run_phase(project, "train", text="bad")
    assert here.runs("train")[0].info.status == "FAILED"
    early = run_phase(project, "train", text="early")
    assert (early.exit_code, early.run.info.status) == (5, "FAILED")


def test_a_command_that_is_not_pythons_is_refused(here: TemporaryStore, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"by_shell: only `python SCRIPT` or `python -m MODULE` runs in this process"):
        run_phase(write_project(tmp_path / "project"), "by_shell")


def test_a_preemption_that_never_came_is_an_error(here: TemporaryStore, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="preempted after 3 steps and did only 0"), preempted_after(3):
        run_phase(write_project(tmp_path / "project"), "train")


def test_a_preemption_needs_the_main_thread() -> None:
    errors = []

    def preempt() -> None:
        try:
            with preempted_after(1, signal.SIGUSR1):
                pass
        except UsageError as error:
            errors.append(str(error))

    thread = threading.Thread(target=preempt)
    thread.start()
    thread.join()
    assert errors == ["only the main thread gets signals: preempt a phase there."]


def test_the_fake_clock_is_that_of_the_package_and_of_nothing_else() -> None:
    with FakeClock(datetime(2030, 1, 1, tzinfo=UTC)) as clock:
        assert run_encoding.now() == "2030-01-01T00:00:00.000+00:00"
        first = liveness.time.monotonic()
        liveness.time.sleep(3600)
        assert liveness.time.monotonic() - first == pytest.approx(3600)
        assert liveness.time.time() == clock.time() == datetime(2030, 1, 1, 1, tzinfo=UTC).timestamp()
        assert isinstance(datetime.now(UTC), run_encoding.datetime)
        assert time.time() < clock.time()
    assert liveness.time is time
    assert run_encoding.datetime is datetime
