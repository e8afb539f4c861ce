"""A phase that is killed, interrupted, timed out or doubled: its run says so, and no work is lost."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from processes import Started, run_words, started, wait_until
from project_folder import LOCAL, PHASES, ProjectFolder

pytestmark = pytest.mark.end_to_end

MLPROJECT = """name: small
entry_points:
  train:
    parameters:
      every: {type: int, default: 1}
      decide: {type: string, default: ask}
    command: "python train.py {every}"
    phase: {ignore_reads: [hold]}
"""
# The state after n steps is 1 + 4 + ... + n*n. While the file `hold` exists, the fourth step does not end.
SCRIPT = """import json, os, pathlib, sys, time
from mlflow_plugin import start_phase
with start_phase() as phase:
    sums = {"total": 0}
    for step in phase.steps(6, state={"sums": sums}, every=int(sys.argv[1])):
        sums["total"] += (step + 1) ** 2
        phase.log(total=sums["total"])
        if step == 3:
            pathlib.Path("reached.tmp").write_text(str(os.getpid()))
            os.replace("reached.tmp", "reached")
            while os.path.exists("hold"):
                time.sleep(0.02)
    phase.output("result.json", lambda path: path.write_text(json.dumps(sums["total"])))
"""
RESULT = 1 + 4 + 9 + 16 + 25 + 36
NEVER = 1000
# MLflow's local backend says FAILED over whatever the phase's process has said; the reason stays.
KILLED = {PHASES: "KILLED", LOCAL: "FAILED"}


@pytest.fixture
def held(make_project: Callable[[Mapping[str, str]], ProjectFolder]) -> ProjectFolder:
    """A project whose phase stops at its fourth step until the file `hold` is removed."""
    return make_project({"MLproject": MLPROJECT, "train.py": SCRIPT, "hold": ""})


def release(project: ProjectFolder) -> None:
    (project.folder / "hold").unlink()


def checkpoint_of(project: ProjectFolder) -> str:
    return str(project.newest("train").data.tags.get("mlflow.phase.checkpoint"))


def reached(project: ProjectFolder, running: Started, saved: str | None = "step-000003") -> int:
    """The id of the phase's own process, once it stands at its fourth step and the step before it is saved."""
    file = project.folder / "reached"
    wait_until(lambda: file.exists() or running.process.poll() is not None, "the fourth step")
    assert file.exists(), running.text
    if saved:
        wait_until(lambda: checkpoint_of(project) == saved, f"{saved} saved")
    return int(file.read_text())


@pytest.mark.parametrize("whole", [False, True], ids=["phase_killed", "all_killed"])
def test_a_killed_phase_resumes_from_its_last_checkpoint(held: ProjectFolder, route: str, whole: bool) -> None:
    with started(held, *run_words("train", route)) as running:
        script = reached(held, running)
        if whole:
            running.signal_all(signal.SIGKILL)
        else:
            os.kill(script, signal.SIGKILL)
            assert running.wait() == 1
    killed = held.newest("train")
    assert killed.info.status == ("RUNNING" if whole else "FAILED")
    release(held)

    result = held.run("train", route)

    assert result.exit_code == 0, result.text
    run = held.newest("train")
    assert run.data.tags["phase.verdict"] == "resume"
    assert run.data.tags["phase.resumed_from"] == killed.info.run_id
    assert "resumes from step 3" in result.text
    history = held.client.get_metric_history(run.info.run_id, "total")
    assert [(one.step, one.value) for one in history] == [(0, 1), (1, 5), (2, 14), (3, 30), (4, 55), (5, 91)]
    assert held.output(run) == RESULT


def test_a_killed_phase_without_a_checkpoint_starts_anew_and_its_dead_run_is_not_waited_for(
    held: ProjectFolder,
) -> None:
    with started(held, *run_words("train", PHASES, every=NEVER)) as running:
        reached(held, running, saved=None)
        running.signal_all(signal.SIGKILL)
    assert held.newest("train").info.status == "RUNNING"
    release(held)

    result = held.run("train", every=NEVER)

    assert result.exit_code == 0, result.text
    assert "wait" not in result.text
    assert held.newest("train").data.tags["phase.verdict"] == "run"
    assert held.output(held.newest("train")) == RESULT


SIGNALS = {
    signal.SIGTERM: "terminated by a signal",
    signal.SIGINT: "interrupted from the keyboard",
    signal.SIGUSR1: "warned by SIGUSR1 that its time is nearly over",
}


def send(running: Started, script: int, route: str, number: signal.Signals) -> None:
    """As people and clusters do: Ctrl-C to all, others to the command, or to the phase where that passes none on."""
    if number == signal.SIGINT:
        running.signal_all(number)
    elif route == PHASES:
        running.process.send_signal(number)
    else:
        os.kill(script, number)


# tests/nightly has the others.
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["sigterm", "ctrl_c"])
def test_a_phase_that_is_told_to_end_saves_its_state_first_and_goes_on_later(
    held: ProjectFolder, route: str, number: signal.Signals
) -> None:
    with started(held, *run_words("train", route, every=NEVER)) as running:
        script = reached(held, running, saved=None)
        send(running, script, route, number)
        running.wait_for("saving a checkpoint after this step")
        release(held)
        assert running.wait() != 0
        wait_until(lambda: not Path(f"/proc/{script}").exists(), "the phase's process gone")
        assert "Traceback" not in running.text
    run = held.newest("train")
    assert run.info.status == KILLED[route], running.text
    assert run.data.tags["phase.reason"] == f"train: {SIGNALS[number]}; step-000004 is saved"

    result = held.run("train", route, every=NEVER)

    assert result.exit_code == 0, result.text
    assert "resumes from step 4" in result.text
    assert held.output(held.newest("train")) == RESULT


# Each of the two workers needs a while for what the next step waits for.
LOADING = """import pathlib, time
from mlflow_plugin import start_phase
with start_phase() as phase:
    import torch
    class Slow(torch.utils.data.Dataset):
        def __len__(self):
            return 1000
        def __getitem__(self, index):
            time.sleep(0.4)
            return index
    loader = iter(torch.utils.data.DataLoader(Slow(), num_workers=2))
    state = {"seen": 0}
    for step in phase.steps(1000, state=state, every=1000):
        state["seen"] += int(next(loader)) + 1
        if step == 2:
            pathlib.Path("reached").touch()
"""


@pytest.mark.parametrize("number", [signal.SIGINT], ids=["ctrl_c"])
def test_processes_that_load_data_live_until_the_step_has_ended(held: ProjectFolder, number: signal.Signals) -> None:
    pytest.importorskip("torch")
    held.write({"train.py": LOADING})
    with started(held, *run_words("train", PHASES)) as running:
        wait_until(lambda: (held.folder / "reached").exists() or running.process.poll() is not None, "the third step")
        if number == signal.SIGTERM:
            running.process.send_signal(number)
        else:  # As a terminal and a cluster do.
            running.signal_all(number)
        running.wait()
    assert checkpoint_of(held).startswith("step-0000"), running.text
    assert held.newest("train").info.status == "KILLED"


LEAVING = """import os, signal, sys, time
from mlflow_plugin import start_phase
from mlflow_plugin.checkpoints.store import CheckpointStore
publish = CheckpointStore.publish
def slowly(*arguments):
    time.sleep(1)
    publish(*arguments)
CheckpointStore.publish = slowly
with start_phase() as phase:
    phase.checkpoint({"x": [1]}, 1)
    phase.end_of_steps()
    END
"""


@pytest.mark.parametrize(
    "end",
    ["sys.exit('no more data')", "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"],
    ids=["by_itself", "sigterm"],
)
def test_what_is_being_saved_when_a_script_ends_is_kept(held: ProjectFolder, end: str) -> None:
    held.write({"train.py": LEAVING.replace("END", end)})
    assert held.run("train", route=PHASES).exit_code == 1
    assert checkpoint_of(held) == "step-000001"


def test_a_second_ctrl_c_leaves_at_once_and_keeps_what_was_saved(held: ProjectFolder, route: str) -> None:
    with started(held, *run_words("train", route)) as running:
        script = reached(held, running)
        running.signal_all(signal.SIGINT)
        running.wait_for("press Ctrl-C again to exit at once")
        running.signal_all(signal.SIGINT)
        assert running.wait() != 0
        wait_until(lambda: not Path(f"/proc/{script}").exists(), "the phase's process gone")
    run = held.newest("train")
    assert run.info.status == KILLED[route], running.text
    assert run.data.tags["mlflow.phase.checkpoint"] == "step-000003"
    release(held)
    assert "resumes from step 3" in held.run("train", route).text


def test_a_step_that_does_not_end_in_time_after_sigterm_is_left(held: ProjectFolder, route: str) -> None:
    with started(held, *run_words("train", route), MLFLOW_PHASES_GRACE_SECONDS="0.5") as running:
        script = reached(held, running)
        send(running, script, route, signal.SIGTERM)
        assert running.wait() != 0
        wait_until(lambda: not Path(f"/proc/{script}").exists(), "the phase's process gone")
        assert "Traceback" not in running.text
    run = held.newest("train")
    assert (run.info.status, checkpoint_of(held)) == (KILLED[route], "step-000003")
    assert run.data.tags["phase.reason"] == "train: terminated by a signal"


def test_a_phase_is_stopped_when_its_time_is_over(
    held: ProjectFolder, route: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_PHASES_GRACE_SECONDS", "0.5")
    held.edit("MLproject", "phase: {", "phase: {timeout_minutes: 0.05, ")

    result = held.run("train", route)

    assert result.exit_code == 1, result.text
    assert "stopped after timeout_minutes = 0.05" in result.text
    assert "Traceback" not in result.text
    run = held.newest("train")
    assert (run.info.status, run.data.tags["phase.reason"]) == (
        KILLED[route],
        "train: stopped after timeout_minutes = 0.05",
    )


def test_a_duplicate_waits_for_the_one_that_runs_and_then_reuses_it(held: ProjectFolder, route: str) -> None:
    with started(held, *run_words("train", route)) as first:
        reached(held, first)
        with started(held, *run_words("train", route)) as second:
            second.wait_for("computes the same thing; waiting for it")
            release(held)
            assert (first.wait(), second.wait()) == (0, 0), second.text
    waited, computed = held.runs("train")
    assert computed.data.tags["phase.verdict"] == "run"
    assert waited.data.tags["phase.reused_run_id"] == computed.info.run_id
    assert held.output(computed) == RESULT
