"""The checkpoints of a run as a whole: resuming from another run, metrics, retention and signals."""

import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from mlflow_plugin.checkpoints.session import CheckpointSession
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.execution.records import Records
from mlflow_plugin.machine.signals import Terminated, Termination, orderly_termination
from mlflow_plugin.project.project import CheckpointPolicy, Phase
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.run import PhaseRun

NOT_INSTALLED = Termination(installed=False)


@pytest.fixture
def records(store: str) -> Records:
    return Records(MlflowClient())


def a_run(records: Records) -> PhaseRun:
    return phase_run(records.client.create_run("0"))


def session(
    records: Records,
    resumed_from: PhaseRun | None = None,
    termination: Termination = NOT_INSTALLED,
    policy: CheckpointPolicy | None = None,
) -> tuple[CheckpointSession, PhaseRun]:
    run = a_run(records)
    phase = Phase("train", "python train.py", {}, checkpoints=policy or CheckpointPolicy())
    return CheckpointSession(records, run, phase, resumed_from, termination), run


def again(records: Records, run: PhaseRun) -> PhaseRun:
    return phase_run(records.client.get_run(run.run_id))


def test_the_time_before_an_interruption_counts(records: Records) -> None:
    first, run = session(records)
    time.sleep(0.3)
    first.save({"x": [1]}, 1, {})
    first.wait_until_saved()
    second, _ = session(records, again(records, run))
    assert second.restore({"x": []}) == 1
    assert 0.3 <= second.elapsed_seconds < 30


def test_the_metric_curve_of_an_interrupted_run_continues_in_the_next(records: Records) -> None:
    first, run = session(records)
    for step in range(5):
        records.metrics(run.run_id, {"loss": 1 / (step + 1)}, step)
    first.save({"x": [1]}, 3, {})
    first.wait_until_saved()
    second, successor = session(records, again(records, run))
    second.restore({"x": []})
    history = records.client.get_metric_history(successor.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 1.0), (1, 1 / 2), (2, 1 / 3)]


def test_metrics_from_before_a_checkpoint_are_copied_in_any_unit_of_steps(records: Records) -> None:
    first, run = session(records)

    def log(step: int, name: str) -> None:
        records.metrics(run.run_id, {name: float(step)}, step)
        first.logged([name], step)

    for done in (1, 2, 3):
        log(done, "by_steps_done")
        log(1000 * done, "by_tokens")
        if done == 2:
            first.save({"x": [1]}, done, {})
    first.wait_until_saved()
    second, successor = session(records, again(records, run))
    assert second.restore({"x": []}) == 2
    second.save({"x": [1]}, 10, {})
    second.wait_until_saved()
    third, successor_of_successor = session(records, again(records, successor))
    assert third.restore({"x": []}) == 10
    for name, steps in (("by_steps_done", [1, 2]), ("by_tokens", [1000, 2000])):
        history = records.client.get_metric_history(successor_of_successor.run_id, name)
        assert [metric.step for metric in history] == steps


def test_the_last_three_stay_unless_the_phase_says_otherwise(records: Records) -> None:
    for policy, kept in ((None, [3, 4, 5]), (CheckpointPolicy(keep_last=1, keep_every=2), [2, 4, 5])):
        saving, run = session(records, policy=policy)
        for step in range(1, 6):
            saving.save({"x": [step]}, step, {})
        saving.wait_until_saved()
        folders = sorted(path.name for path in Path(run.artifact_uri, "checkpoints").iterdir())
        assert folders == [f"step-{step:06d}" for step in kept]
        assert again(records, run).checkpoint == "step-000005"


def test_the_best_weights_so_far_do_not_replace_those_of_the_model(records: Records) -> None:
    torch = pytest.importorskip("torch")

    def begin() -> tuple[Any, dict[str, Any]]:
        model = torch.nn.Linear(1, 1)
        return model, {"model": model, "best": model.state_dict()}

    def at(value: float) -> dict[str, Any]:
        return {name: torch.full_like(tensor, value) for name, tensor in begin()[0].state_dict().items()}

    first, run = session(records)
    model, state = begin()
    assert first.restore(state) == 0
    model.load_state_dict(at(2.0))
    state["best"] = at(1.0)
    first.save(state, 3, {})
    first.wait_until_saved()
    second, _ = session(records, again(records, run))
    model, state = begin()
    assert second.restore(state) == 3
    assert (model.weight.item(), state["best"]["weight"].item()) == (2.0, 1.0)


@pytest.mark.parametrize(
    "value", [deque([1.0]), (number for number in range(3)), lambda: 0, {1}], ids=lambda value: type(value).__name__
)
def test_a_value_that_cannot_be_restored_is_refused_by_name_at_the_first_save(records: Records, value: object) -> None:
    saving, run = session(records)
    state = {"progress": {"recent": value}}
    assert saving.restore(state) == 0
    with pytest.raises(PhaseError, match=rf"progress\.recent .* {type(value).__name__}"):
        saving.save(state, 1, {})
    assert not again(records, run).checkpoint


def test_steps_that_go_backwards_are_refused(records: Records) -> None:
    saving, _ = session(records)
    saving.save({"x": [1]}, 5, {})
    with pytest.raises(UsageError, match="after step 4 cannot follow the one after step 5"):
        saving.save({"x": [1]}, 4, {})


def test_a_checkpoint_after_step_0_is_saved_once_and_later_ones_may_need_it(records: Records) -> None:
    torch = pytest.importorskip("torch")
    saving, run = session(records)
    for step in (0, 0, 5):
        saving.save({"frozen": torch.ones(50_000), "x": torch.full((10_000,), float(step))}, step, {})
        saving.wait_until_saved()
    second, _ = session(records, again(records, run))
    state = {"frozen": torch.zeros(50_000), "x": torch.zeros(10_000)}
    assert second.restore(state) == 5
    assert (float(state["frozen"][0]), float(state["x"][0])) == (1, 5)


def test_a_step_may_be_of_any_integer_type_and_of_no_other(records: Records) -> None:
    saving, run = session(records)
    saving.save({"x": [1]}, np.int64(3), {})  # type: ignore[arg-type]
    saving.wait_until_saved()
    assert again(records, run).checkpoint == "step-000003"
    with pytest.raises(UsageError, match="`step` must be a whole number of steps, got"):
        saving.save({"x": [1]}, 4.5, {})  # type: ignore[arg-type]


def test_a_checkpoint_whose_name_could_not_be_written_keeps_its_files_for_those_after_it(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    saving, run = session(records)
    named = records.checkpoint

    def away(run_id: str, name: str) -> None:
        if name == "step-000001":
            raise OSError("the tracking store is away")
        named(run_id, name)

    monkeypatch.setattr(records, "checkpoint", away)
    for step in (1, 2, 3):
        saving.save({"frozen": torch.ones(50_000), "x": torch.full((10_000,), float(step))}, step, {})
        saving.wait_until_saved()
    second, _ = session(records, again(records, run))
    assert second.restore({"frozen": torch.zeros(50_000), "x": torch.zeros(10_000)}) == 3


def test_old_checkpoints_that_cannot_be_removed_are_reported_once_and_new_ones_are_saved(
    records: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(self: CheckpointStore, files: Iterable[str]) -> None:
        if tuple(files):
            raise PermissionError("AccessDenied: s3:DeleteObject")

    monkeypatch.setattr(CheckpointStore, "remove", denied)
    saving, run = session(records)
    for step in range(1, 7):
        saving.save({"x": [step]}, step, {})
    saving.wait_until_saved()
    assert again(records, run).checkpoint == "step-000006"
    assert capsys.readouterr().err.count("cannot be removed and stay for now: AccessDenied") == 1


def test_a_second_loop_with_a_state_is_refused_before_it_costs_anything(records: Records) -> None:
    first, run = session(records)
    assert first.restore({"x": [1]}) == 0
    with pytest.raises(UsageError, match="one state"):
        first.restore({"x": [1]})
    first.save({"x": [1]}, 3, {})
    first.wait_until_saved()
    second, _ = session(records, again(records, run))
    assert second.restore({"x": [1]}) == 3
    with pytest.raises(UsageError, match="one state"):
        second.restore({"x": [1]})


def test_a_checkpoint_that_does_not_fit_the_script_is_named_with_a_way_out(records: Records) -> None:
    first, run = session(records)
    first.save({"model": [1]}, 2, {})
    first.wait_until_saved()
    second, _ = session(records, again(records, run))
    with pytest.raises(
        PhaseError, match=rf"step-000002 of run {run.run_id} is intact but does not fit: .*decide=rerun"
    ):
        second.restore({"another": []})


def test_a_signal_ends_the_run_at_the_next_save_once_that_is_complete(records: Records) -> None:
    with orderly_termination() as termination:
        saving, run = session(records, termination=termination)
        saving.begin()
        signal.raise_signal(signal.SIGUSR1)
        assert saving.due(7, 100)
        with pytest.raises(Terminated, match=r"SIGUSR1.*step-000007 is saved"):
            saving.save({"x": [1]}, 7, {})
    assert again(records, run).checkpoint == "step-000007"


def test_a_save_that_takes_longer_than_a_step_may_after_sigterm_is_not_cut_short(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_PHASES_GRACE_SECONDS", "0.2")
    publish = CheckpointStore.publish

    def slowly(self: CheckpointStore, name: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
        time.sleep(1)
        publish(self, name, folder, files)

    monkeypatch.setattr(CheckpointStore, "publish", slowly)
    with orderly_termination() as termination:
        saving, run = session(records, termination=termination)
        saving.begin()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated, match="step-000007 is saved"):
            saving.save({"x": [1]}, 7, {})
    assert again(records, run).checkpoint == "step-000007"


def test_a_signal_after_the_loop_is_obeyed_at_once(records: Records) -> None:
    with orderly_termination() as termination:
        saving, _ = session(records, termination=termination)
        saving.begin()
        saving.pause()
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)


def test_a_pending_signal_is_obeyed_when_the_work_ends(records: Records) -> None:
    with orderly_termination() as termination:
        saving, _ = session(records, termination=termination)
        saving.begin()
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(Terminated):
            saving.finish()


def test_a_signal_while_the_last_checkpoint_is_saved_does_not_cut_it_short(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = CheckpointStore.publish

    def signalled(self: CheckpointStore, name: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        publish(self, name, folder, files)

    monkeypatch.setattr(CheckpointStore, "publish", signalled)
    with orderly_termination() as termination:
        saving, run = session(records, termination=termination)
        saving.begin()
        saving.save({"x": [1]}, 7, {})
        with pytest.raises(Terminated):
            saving.finish()
    assert again(records, run).checkpoint == "step-000007"


def test_a_failed_save_does_not_fail_a_finished_phase(
    records: Records, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saving, _ = session(records)

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlflow_plugin.checkpoints.store.sync", full)
    saving.save({"x": [1]}, 1, {})
    saving.finish()
    assert "train: the checkpoint after step 1 could not be saved: " in capsys.readouterr().err


def test_a_pending_signal_is_obeyed_when_a_loop_is_left(records: Records) -> None:
    with orderly_termination() as termination:
        saving, _ = session(records, termination=termination)
        saving.begin()
        signal.raise_signal(signal.SIGINT)
        saving.pause()
        with pytest.raises(KeyboardInterrupt, match="from the keyboard"):
            time.sleep(10)


def test_a_closed_terminal_ends_the_run_once_its_state_is_saved(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> None:
            raise OSError(5, "Input/output error")

        flush = isatty

    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup leaves it ignored.
    try:
        with orderly_termination() as termination:
            saving, run = session(records, termination=termination)
            saving.begin()
            monkeypatch.setattr("sys.stderr", Closed())
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(Terminated, match="terminal was closed"):
                saving.save({"x": [1]}, 3, {})
    finally:
        signal.signal(signal.SIGHUP, before)
    assert again(records, run).checkpoint == "step-000003"


def test_sigterm_soon_after_a_warning_still_bounds_the_step(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PHASES_GRACE_SECONDS", "0.2")
    with orderly_termination() as termination:
        saving, _ = session(records, termination=termination)
        saving.begin()
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Terminated, match="SIGUSR1"):
            time.sleep(10)


def test_an_interval_of_zero_steps_is_refused(records: Records) -> None:
    saving, _ = session(records)
    saving.begin()
    with pytest.raises(UsageError, match="`every` must be at least 1 step, got"):
        saving.due(1, 10, every=0)
