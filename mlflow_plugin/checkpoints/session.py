"""The checkpoints of a phase while it runs: where it goes on from, when the next is due, saving it, and which stay."""

import logging
import operator
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_plugin.checkpoints.finite import newest_finite
from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_sound
from mlflow_plugin.checkpoints.retention import StoredCheckpoint, plan_removal
from mlflow_plugin.checkpoints.schedule import CheckpointSchedule
from mlflow_plugin.checkpoints.state import capture_random_state, collect, restore, restore_random_state
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.format import short
from mlflow_plugin.machine.signals import Termination
from mlflow_plugin.progress import progress
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_writer import RunWriter

_logger = logging.getLogger(__name__)

_METRICS_AT_ONCE = 1000
_HISTORIES_AT_ONCE = 8
"""As many as MLflow takes in one request."""


class CheckpointSession:
    """Everything about the checkpoints of one run of a phase."""

    def __init__(
        self, records: RunWriter, run: PhaseRun, phase: Phase, resumed_from: PhaseRun | None, termination: Termination
    ) -> None:
        self._records, self._run, self._phase = records, run, phase
        self._resumed_from, self._termination = resumed_from, termination
        self._store = CheckpointStore(run.artifact_uri)
        self._writer = CheckpointWriter(self._store, self._saved, self._committing, phase.name)
        self._stored: dict[str, StoredCheckpoint] = {}
        self._created = self._began = self._saved_at = time.monotonic()
        self._earlier_seconds = 0.0
        self._first_step = 0
        self._newest_step: int | None = None
        self._logged_steps: dict[str, int] = {}
        self._restored = self._cannot_remove = False

    @property
    def elapsed_seconds(self) -> float:
        """How long the phase has computed, before it was interrupted too."""
        return self._earlier_seconds + time.monotonic() - self._created

    # --- going on from an earlier run ---

    @cached_property
    def resumed(self) -> LoadedCheckpoint | None:
        """The newest sound checkpoint to go on from, None when there is none. Raises PhaseError when the store does not
        answer.
        """
        if self._resumed_from is None:
            return None
        found = newest_sound(self._chain(self._resumed_from), self._records.bad_checkpoint)
        for sentence in found if isinstance(found, list) else found.skipped:
            _logger.info(f"{self._phase.name}: passed over {sentence}")
        if isinstance(found, list):
            _logger.info(
                f"{self._phase.name}: no checkpoint of {self._resumed_from.short} verifies; starting from the beginning"
            )
            return None
        return found

    def _chain(self, run: PhaseRun) -> Iterator[PhaseRun]:
        """A run, the run that it had gone on from, and so on."""
        seen: set[str] = set()
        while run.run_id not in seen:
            yield run
            seen.add(run.run_id)
            if not run.resumed_from:
                return
            try:
                run = phase_run(self._records.client.get_run(run.resumed_from))
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return
                raise

    def restore(self, state: Mapping[str, Any]) -> int:
        """Puts the interrupted run's state and random states back; returns the step to go on from, 0 without one.

        Raises PhaseError when the checkpoint does not fit the objects in `state`, UsageError when it is called again.
        """
        if self._restored:
            raise UsageError(
                f"{self._phase.name}: a phase has one state, and one count of steps. Call `restore`, or `steps` with a "
                "`state`, once; make two loops one, or two phases."
            )
        self._restored = True
        self.begin()
        loaded = self.resumed
        if loaded is None:
            return 0
        try:
            restore(state, loaded.state)
        except PhaseError as error:
            raise PhaseError(
                f"{self._phase.name}: {loaded.name} of run {loaded.run_id} is sound and does not fit: {error} To start "
                "anew on purpose: -P decide=rerun."
            ) from error
        restore_random_state(loaded.random)
        self.take_over(loaded)
        # As large as what it was put back into.
        self.__dict__["resumed"] = replace(loaded, state={}, random={})
        return loaded.step

    def take_over(self, loaded: LoadedCheckpoint) -> None:
        """Makes an interrupted run's history this one's: the metrics from before the checkpoint."""
        copy_metrics(self._records, loaded, self._run.run_id, self._phase.name)
        self._logged_steps = dict(loaded.logged_steps)
        self._first_step = self._newest_step = loaded.step
        self._earlier_seconds = loaded.elapsed_seconds
        _logger.info(f"{self._phase.name}: goes on from step {loaded.step} of {short(loaded.run_id)}")

    # --- saving ---

    def begin(self) -> None:
        """From here on signals wait for the end of a step, and time is counted for the schedule."""
        self._termination.defer()
        self._began = self._saved_at = time.monotonic()

    def due(self, done: int, total: int | None, every: int | None = None) -> bool:
        """Whether to save after `done` of `total` steps: by the schedule, or because a signal asks this run to end."""
        if self._termination.pending:
            return True
        every = self._phase.checkpoints.every if every is None else every
        if (every is None and self._writer.busy) or (total is not None and done >= total):
            return False
        now = time.monotonic()
        steps = max(1, done - self._first_step)
        expected = (now - self._began) / steps * total if total else None
        return CheckpointSchedule(expected, every).due(done, now, self._saved_at, self._writer.cost_seconds)

    def logged(self, metrics: Iterable[str], step: int) -> None:
        """Says that these metrics were logged at a step, by whatever it counts: what was is part of a checkpoint."""
        for name in metrics:
            self._logged_steps[name] = max(step, self._logged_steps.get(name, step))

    def save(self, state: Mapping[str, Any], step: int, metrics: Mapping[str, float]) -> None:
        """Copies a state as the one after `step` steps and has it saved behind the loop. When a signal asked this run
        to end, returns no more: waits until it is saved, and raises what the signal means.

        Raises PhaseError when the state or an earlier checkpoint cannot be saved; UsageError when steps go backwards.
        """
        self._termination.defer()
        step = self._counted(step)
        with self._termination.step_ended():
            if self._newest_step is None or step > self._newest_step:
                content = {
                    "state": collect(state),
                    "random": capture_random_state(),
                    "elapsed_seconds": self.elapsed_seconds,
                    "logged_steps": dict(self._logged_steps),
                }
                self._writer.save(content, step, dict(metrics))
                self._newest_step, self._saved_at = step, time.monotonic()
            self.obey()

    def _counted(self, step: int) -> int:
        """A number of steps, of whatever integer type. Raises UsageError when it is none or smaller than before."""
        try:
            step = operator.index(step)
        except TypeError:
            raise UsageError(f"{self._phase.name}: `step` is a number of steps; {step!r} is no whole number.") from None
        if step < (self._newest_step or 0):
            raise UsageError(
                f"{self._phase.name}: a checkpoint after step {step} cannot follow the one after step "
                f"{self._newest_step or 0}: `step` counts the steps done, so it only grows."
            )
        return step

    def obey(self) -> None:
        """Ends this run in order when a signal asked for that: waits for what is being saved, and raises."""
        if self._termination.pending is None:
            return
        self._writer.flush()
        if pending := self._termination.take():
            kept = f"; {self._writer.newest} is saved" if self._writer.newest else ""
            raise type(pending)(f"{pending}{kept}")

    def pause(self) -> None:
        """No loop looks for signals any more: one that waits is obeyed now, and the next at once."""
        self._termination.defer(False)
        self._termination.raise_soon()

    def finish(self) -> None:
        """The end of the phase's work: waits for what is being saved, and obeys a signal that came by then."""
        self._termination.defer()
        with self._termination.step_ended():
            self.settled()
        self._termination.obey_at_once()

    def settled(self) -> str:
        """Waits for what is being saved, and tells what could not be. The name of the newest complete checkpoint of
        this run, else of the one it went on from; empty without.
        """
        try:
            self._writer.flush()
        except PhaseError as error:
            _logger.warning(f"attention: {error}")
        loaded: LoadedCheckpoint | None = self.__dict__.get("resumed")
        return self._writer.newest or (loaded.name if loaded else "")

    def last_good(self) -> str:
        """After training broke down: `step-000100 of run ID`, the newest checkpoint from before that. Nobody goes on
        from those after it. Empty without one.
        """
        newest = self.settled()
        earlier = self._chain(self._resumed_from) if self._resumed_from else ()
        try:
            found, passed_over = newest_finite(chain([self._run], earlier), self._records.bad_checkpoint)
        except PhaseError as error:
            _logger.warning(f"{self._phase.name}: attention: {error}")
            return newest
        for sentence in passed_over:
            _logger.info(f"{self._phase.name}: no good checkpoint: {sentence}")
        return f"{found.name} of run {found.run_id}" if found else ""

    # --- in the writer's thread ---

    def _committing(self, name: str) -> None:
        self._records.check_owner(self._run.run_id)
        if not self._writer.newest:
            # Who is killed between the first manifest and its tag has left something to go on from.
            self._records.first_checkpoint(self._run.run_id, name)

    def _saved(self, name: str, manifest: Manifest, stall_seconds: float) -> None:
        run_id = self._run.run_id
        # First: those after it may need its files, whether or not its name can be written now.
        self._stored[name] = StoredCheckpoint.of(name, manifest)
        self._records.checkpoint(run_id, name)
        self._records.metrics(run_id, {schema.STALL_MS: stall_seconds * 1000}, manifest.step or 0)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        removal = plan_removal(list(self._stored.values()), self._phase.checkpoints, self._phase.quality)
        try:
            self._store.remove(removal.files)
        except Exception as error:
            # Costs room, not progress; it is tried again after the next save.
            if not self._cannot_remove:
                self._cannot_remove = True
                _logger.warning(
                    f"{self._phase.name}: attention: old checkpoints cannot be removed and stay for now: {error}"
                )
            return
        for gone in removal.checkpoints:
            left = {path: size for path, size in self._stored[gone].files.items() if path not in removal.files}
            del self._stored[gone]
            if left:
                self._stored[gone] = StoredCheckpoint(gone, 0, left, complete=False)


def copy_metrics(records: RunWriter, loaded: LoadedCheckpoint, target_id: str, label: str) -> None:
    """Takes over an interrupted run's metrics from before a checkpoint, so that the MLflow UI shows one curve: up to
    the step at which each had been logged by then; of those that `phase.log` did not log, of the steps before it.
    """
    client, waiting = records.client, []
    logged = [name for name in phase_run(client.get_run(loaded.run_id)).metrics if not name.startswith("phase.")]
    with ThreadPoolExecutor(_HISTORIES_AT_ONCE) as pool:
        histories = pool.map(lambda name: client.get_metric_history(loaded.run_id, name), logged)
        for name in progress(logged, description=f"{label}: metrics of {short(loaded.run_id)}"):
            last = loaded.logged_steps.get(name, loaded.step - 1)
            waiting += [metric for metric in next(histories) if metric.step <= last]
            while len(waiting) >= _METRICS_AT_ONCE:
                client.log_batch(target_id, metrics=waiting[:_METRICS_AT_ONCE])
                del waiting[:_METRICS_AT_ONCE]
    if waiting:
        client.log_batch(target_id, metrics=waiting)
