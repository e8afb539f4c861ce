"""Two of everything at once: of several that start the same phase one computes; who was taken for dead
and wakes does no harm.
"""

import json
import os
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from processes import run_words, started, wait_until
from project_folder import LOCAL, ProjectFolder
from starters import starters

if TYPE_CHECKING:
    from tests.servers.stores import Store

pytestmark = pytest.mark.end_to_end

RECORD = "DUPLICATES_RECORD"
QUICK = """name: small
entry_points:
  train:
    parameters:
      decide: {type: string, default: ask}
    command: "python quick.py"
    phase: {}
"""
# A script that does not know the plugin. It tells each time that it runs.
QUICK_SCRIPT = f"""import os, time
with open(os.environ["{RECORD}"], "a") as record:
    record.write(f"{{os.getpid()}}\\n")
time.sleep(1)
"""
LONG = QUICK.replace("quick.py", "long.py").replace("phase: {}", "phase: {ignore_reads: [hold]}")
# The state after n steps is 1 + 4 + ... + n*n. While the file `hold` exists, the fourth step does not end.
LONG_SCRIPT = f"""import json, os, time
from mlflow_plugin import start_phase
with open(os.environ["{RECORD}"], "a") as record:
    record.write(f"{{os.getpid()}}\\n")
with start_phase() as phase:
    sums = {{"total": 0}}
    for step in phase.steps(6, state={{"sums": sums}}, every=1):
        sums["total"] += (step + 1) ** 2
        while step == 3 and os.path.exists("hold"):
            open("reached", "w").close()
            time.sleep(0.02)
    phase.output("result.json", lambda path: path.write_text(json.dumps(sums["total"])))
"""
RESULT = 1 + 4 + 9 + 16 + 25 + 36


@dataclass
class Duplicates:
    """A project, and where its runs are recorded."""

    folder: Path
    variables: Mapping[str, str]
    experiment_id: str
    client: MlflowClient

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name.replace("_py", ".py")).write_text(text)

    @property
    def executions(self) -> list[int]:
        """The process ids of all that computed."""
        record = Path(self.variables[RECORD])
        return [int(line) for line in record.read_text().splitlines()] if record.exists() else []

    def runs(self) -> list[Run]:
        """All runs, oldest first."""
        return list(self.client.search_runs([self.experiment_id], order_by=["attributes.start_time ASC"]))

    def computed(self) -> list[Run]:
        return [run for run in self.runs() if run.data.tags.get("phase.verdict") in ("run", "resume")]

    def sources_of_reuse(self) -> list[str]:
        """The runs whose outputs were reused, one for each reuse."""
        found = (run.data.tags.get("phase.reused_run_id") for run in self.runs())
        return [run_id for run_id in found if run_id]


@pytest.fixture
def tracking() -> str:
    """Return the kind of tracking store: a server, over HTTP; tests/nightly has the others."""
    return "server"


@pytest.fixture
def duplicates(
    tracking: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stores: "Callable[[str], Store]",
    monkeypatch: pytest.MonkeyPatch,
) -> Duplicates:
    """Return an empty project folder with a new experiment in a tracking store."""
    if tracking == "postgres":
        variables = {"MLFLOW_TRACKING_URI": request.getfixturevalue("postgres_uri")}
        client = MlflowClient(variables["MLFLOW_TRACKING_URI"])
        experiment_id = client.create_experiment(f"duplicates-{uuid.uuid4().hex[:8]}", str(tmp_path / "artifacts"))
    else:
        store = stores({"sqlite": "local"}.get(tracking, tracking))
        variables, client, experiment_id = dict(store.variables), store.client, store.new_experiment()
    folder = tmp_path / "project"
    folder.mkdir()
    variables |= {RECORD: str(tmp_path / "record.txt")}
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return Duplicates(folder, variables, experiment_id, client)


only_sqlite = pytest.mark.parametrize("tracking", ["sqlite"])


def kill(processes: list[psutil.Process], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a whole family; parents first, so that none is told of its child's end."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def test_of_eight_that_start_at_once_one_computes_and_seven_reuse_its_result(duplicates: Duplicates) -> None:
    duplicates.write(MLproject=QUICK, quick_py=QUICK_SCRIPT)
    with starters(8, duplicates.folder, duplicates.experiment_id, duplicates.variables) as eight:
        assert eight.exit_codes() == [0] * 8, eight.texts()
    assert len(duplicates.executions) == 1
    (computed,) = duplicates.computed()
    assert duplicates.sources_of_reuse() == [computed.info.run_id] * 7
    assert {run.info.status for run in duplicates.runs()} == {"FINISHED"}


@only_sqlite
def test_of_three_that_were_told_to_compute_anew_at_once_one_does(duplicates: Duplicates) -> None:
    duplicates.write(MLproject=LONG, long_py=LONG_SCRIPT)
    with starters(1, duplicates.folder, duplicates.experiment_id, duplicates.variables) as first:
        assert first.exit_codes() == [0], first.texts()
    duplicates.write(hold="")
    with starters(3, duplicates.folder, duplicates.experiment_id, duplicates.variables, decide="rerun") as three:
        # Who comes when the others are done computes anew, as it was told.
        wait_until(lambda: three.texts().count("waiting for it") == 2, "two of them wait for the third")
        (duplicates.folder / "hold").unlink()
        assert three.exit_codes() == [0] * 3, three.texts()
    assert len(duplicates.executions) == 2
    assert duplicates.sources_of_reuse() == [duplicates.computed()[-1].info.run_id] * 2


def test_when_the_one_that_computes_is_killed_exactly_one_of_those_who_wait_resumes_from_its_checkpoint(
    duplicates: Duplicates,
) -> None:
    duplicates.write(MLproject=LONG, long_py=LONG_SCRIPT, hold="")
    with starters(1, duplicates.folder, duplicates.experiment_id, duplicates.variables) as first:
        wait_until((duplicates.folder / "reached").exists, "the fourth step")
        with starters(3, duplicates.folder, duplicates.experiment_id, duplicates.variables) as others:
            for number in range(3):
                others.wait_for(number, "waiting for it")
            (dead,) = duplicates.computed()
            kill(first.family(0))
            (duplicates.folder / "hold").unlink()
            assert others.exit_codes() == [0] * 3, others.texts()
    assert len(duplicates.executions) == 2
    (successor,) = (run for run in duplicates.computed() if run.info.run_id != dead.info.run_id)
    assert successor.data.tags["phase.verdict"] == "resume"
    assert successor.data.tags["phase.resumed_from"] == dead.info.run_id
    assert duplicates.sources_of_reuse() == [successor.info.run_id] * 2
    dead = duplicates.client.get_run(dead.info.run_id)
    assert (dead.info.status, dead.data.tags["mlflow.phase.heir"]) == ("KILLED", successor.info.run_id)
    assert "lost heartbeat: last one " in dead.data.tags["phase.reason"]


@only_sqlite
def test_who_stood_still_for_too_long_and_wakes_overwrites_nothing_of_the_one_that_went_on(
    duplicates: Duplicates,
) -> None:
    duplicates.write(MLproject=LONG, long_py=LONG_SCRIPT, hold="")
    hasty = {**duplicates.variables, "MLFLOW_PHASES_BEAT_SECONDS": "1"}
    with starters(1, duplicates.folder, duplicates.experiment_id, hasty) as zombie:
        wait_until((duplicates.folder / "reached").exists, "the fourth step")
        (first,) = duplicates.computed()
        wait_until(lambda: saved(duplicates, first) == "step-000003", "the third step saved")
        asleep = zombie.family(0)
        with starters(1, duplicates.folder, duplicates.experiment_id, hasty) as second:
            second.wait_for(0, "computes the same thing; waiting for it")
            kill(asleep, signal.SIGSTOP)
            (duplicates.folder / "hold").unlink()
            assert second.exit_codes() == [0], second.texts()
        kill(asleep, signal.SIGCONT)
        assert zombie.exit_codes() == [1], zombie.texts()
        assert "has taken over the work of run" in zombie.text(0)
        assert "Traceback" not in zombie.text(0)
    first, successor = duplicates.computed()
    assert successor.data.tags["phase.resumed_from"] == first.info.run_id
    assert "phase.completed_at" in successor.data.tags
    assert "phase.completed_at" not in first.data.tags
    assert first.info.status in ("KILLED", "FAILED")
    assert saved(duplicates, first) == "step-000003"
    pointers = duplicates.client.get_experiment(duplicates.experiment_id).tags
    (latest,) = (json.loads(value) for name, value in pointers.items() if name.startswith("mlflow.phase.latest."))
    assert latest["run_id"] == successor.info.run_id
    output = Path(successor.info.artifact_uri) / "outputs" / "result.json"
    assert json.loads(output.read_text()) == RESULT


def saved(duplicates: Duplicates, run: Run) -> str:
    return str(duplicates.client.get_run(run.info.run_id).data.tags.get("mlflow.phase.checkpoint", ""))


@only_sqlite
def test_who_waits_goes_by_the_process_that_computes_also_when_the_one_that_started_it_was_killed(
    duplicates: Duplicates,
) -> None:
    duplicates.write(MLproject=LONG, long_py=LONG_SCRIPT, hold="")
    with starters(1, duplicates.folder, duplicates.experiment_id, duplicates.variables) as first:
        wait_until((duplicates.folder / "reached").exists, "the fourth step")
        computing = first.family(0)[1:]
        try:
            kill([first.process(0)])
            with starters(1, duplicates.folder, duplicates.experiment_id, duplicates.variables) as second:
                second.wait_for(0, "computes the same thing; waiting for it")
                (duplicates.folder / "hold").unlink()
                assert second.exit_codes() == [0], second.texts()
        finally:
            kill(computing)
    assert len(duplicates.executions) == 1
    assert duplicates.sources_of_reuse() == [duplicates.computed()[0].info.run_id]


def test_of_two_mlflow_runs_at_once_without_the_backend_one_computes(
    make_project: Callable[[Mapping[str, str]], ProjectFolder],
) -> None:
    project = make_project({"MLproject": LONG, "long.py": LONG_SCRIPT, "hold": ""})
    record = {RECORD: str(project.folder.parent / "record.txt")}
    with (
        started(project, *run_words("train", LOCAL), **record) as one,
        started(project, *run_words("train", LOCAL), **record) as other,
    ):
        wait_until(lambda: "waiting for it" in one.text + other.text, "one of the two waiting")
        (project.folder / "hold").unlink()
        assert (one.wait(), other.wait()) == (0, 0), one.text + other.text
    verdicts = sorted(run.data.tags["phase.verdict"] for run in project.runs("train"))
    assert verdicts == ["reuse", "run"]
