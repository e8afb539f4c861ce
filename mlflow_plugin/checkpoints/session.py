"""Manage the checkpoints of a running phase: resume from one, save the next when due, remove outdated ones."""

import logging
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_plugin.checkpoints.finite import newest_finite
from mlflow_plugin.checkpoints.identity import Beginning, of_state, same_objects
from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_verified
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
"""The limit of MLflow for one request."""
_HISTORIES_AT_ONCE = 8


class CheckpointSession:
    """Save, restore and remove the checkpoints of one run of a phase.

    Args:
        records: Writes tags and metrics of the run.
        run: The run that computes.
        phase: Its phase, which declares the checkpoint policy.
        resumed_from: The interrupted run to resume, None to start from the beginning.
        termination: The signals that this process receives.
        before_publishing: Called in the writer's thread just before a checkpoint is published.
    """

    def __init__(
        self,
        records: RunWriter,
        run: PhaseRun,
        phase: Phase,
        resumed_from: PhaseRun | None,
        termination: Termination,
        before_publishing: Callable[[], None] = lambda: None,
    ) -> None:
        self._records, self._run, self._phase = records, run, phase
        self._resumed_from, self._termination = resumed_from, termination
        self._before_publishing = before_publishing
        self._store = CheckpointStore(run.artifact_uri)
        self._writer = CheckpointWriter(self._store, self._saved, self._committing, phase.name)
        self._stored: dict[str, StoredCheckpoint] = {}
        self._created = self._began = self._saved_at = time.monotonic()
        self._earlier_seconds = 0.0
        self._first_step = 0
        self._newest_step: int | None = None
        self._logged_steps: dict[str, int] = {}
        self._restored = self._cannot_remove = False
        self._beginning: Beginning | None = None

    @property
    def elapsed_seconds(self) -> float:
        """Seconds that the phase has computed, including the time before it was interrupted."""
        return self._earlier_seconds + time.monotonic() - self._created

    # --- resuming from an earlier run ---

    @cached_property
    def resumed(self) -> LoadedCheckpoint | None:
        """The checkpoint to resume from, None when none verifies. Raises PhaseError when the store does not answer."""
        if self._resumed_from is None:
            return None
        newest = newest_verified(self._chain(self._resumed_from), self._records.bad_checkpoint)
        for sentence in newest if isinstance(newest, list) else newest.skipped:
            _logger.info(f"{self._phase.name}: skipped {sentence}")
        if isinstance(newest, list):
            _logger.info(
                f"{self._phase.name}: no checkpoint of {self._resumed_from.short} verifies; starting from the beginning"
            )
            return None
        return newest

    def _chain(self, run: PhaseRun) -> Iterator[PhaseRun]:
        """Yield a run, the run that it resumed from, and so on."""
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
        """Restore the interrupted run's state and random states.

        Args:
            state: The live objects by name, see `state.restore`.

        Returns:
            The number of completed steps, 0 when there is no checkpoint to resume from.

        Raises:
            PhaseError: The checkpoint does not fit the objects in `state`.
            UsageError: Called a second time.
        """
        if self._restored:
            raise UsageError(
                f"{self._phase.name}: a phase has one state and one step count. Call `restore`, or `steps` with a "
                "`state`, only once. Merge two loops into one, or divide them into two phases."
            )
        self._restored = True
        self._beginning = Beginning(state)
        self.begin()
        loaded = self.resumed
        if loaded is None:
            return 0
        try:
            restore(state, loaded.state, loaded.identity)
        except PhaseError as error:
            raise PhaseError(
                f"{self._phase.name}: {loaded.name} of run {loaded.run_id} is intact but does not fit: {error} To "
                "start from the beginning instead: -P decide=rerun."
            ) from error
        restore_random_state(loaded.random)
        self.take_over(loaded)
        # Free the loaded state: it is as large as the live one.
        self.__dict__["resumed"] = replace(loaded, state={}, random={})
        return loaded.step

    def take_over(self, loaded: LoadedCheckpoint) -> None:
        """Copy an interrupted run's metrics from before the checkpoint, and continue its step count and duration."""
        copy_metrics(self._records, loaded, self._run.run_id, self._phase.name)
        self._logged_steps = dict(loaded.logged_steps)
        self._first_step = self._newest_step = loaded.step
        self._earlier_seconds = loaded.elapsed_seconds
        _logger.info(f"{self._phase.name}: resumes from step {loaded.step} of {short(loaded.run_id)}")

    # --- saving ---

    def begin(self) -> None:
        """Defer signals to the end of a step and start the clock of the schedule."""
        self._termination.defer()
        self._began = self._saved_at = time.monotonic()

    def due(self, done: int, total: int | None, every: int | None = None) -> bool:
        """Return whether to save now: the schedule says so, or a signal asks this run to end.

        Args:
            done: Completed steps.
            total: All steps, None when unknown.
            every: Steps between two checkpoints, by default as the phase declares.
        """
        if self._termination.pending:
            return True
        every = self._phase.checkpoints.every if every is None else every
        if total is not None and done >= total:
            return bool(self._phase.extend)  # A longer run begins where this one ends.
        if every is None and self._writer.busy:
            return False
        now = time.monotonic()
        steps = max(1, done - self._first_step)
        expected = (now - self._began) / steps * total if total else None
        return CheckpointSchedule(expected, every).due(done, now, self._saved_at, self._writer.cost_seconds)

    def logged(self, metrics: Iterable[str], step: int) -> None:
        """Note the step at which metrics were logged, in whatever unit the script counts. Checkpoints record it."""
        for name in metrics:
            self._logged_steps[name] = max(step, self._logged_steps.get(name, step))

    def save(self, state: Mapping[str, Any], step: int, metrics: Mapping[str, float]) -> None:
        """Copy a state and save it in the background.

        When a signal asked this run to end, this waits until the state is saved and raises the signal's exception.

        Args:
            state: The live objects by name, see `state.collect`.
            step: Completed steps.
            metrics: Metric name -> its value now.

        Raises:
            PhaseError: The state or an earlier checkpoint cannot be saved.
            UsageError: `step` is not a whole number, or smaller than before.
        """
        self._termination.defer()
        step = self._counted(step)
        with self._termination.step_ended():
            if self._newest_step is None or step > self._newest_step:
                content = {
                    "state": collect(state),
                    "identity": self._beginning.record(state)
                    if self._beginning
                    else same_objects(list(of_state(state))),
                    "random": capture_random_state(),
                    "elapsed_seconds": self.elapsed_seconds,
                    "logged_steps": dict(self._logged_steps),
                }
                self._writer.save(content, step, dict(metrics))
                self._newest_step, self._saved_at = step, time.monotonic()
            self.obey()

    def _counted(self, step: int) -> int:
        """Return a number of steps of any integer type as int. Raises UsageError as `save` does."""
        try:
            step = operator.index(step)
        except TypeError:
            raise UsageError(f"{self._phase.name}: `step` must be a whole number of steps, got {step!r}.") from None
        if step < (self._newest_step or 0):
            raise UsageError(
                f"{self._phase.name}: a checkpoint after step {step} cannot follow the one after step "
                f"{self._newest_step or 0}. `step` counts the completed steps, so it must not decrease."
            )
        return step

    def obey(self) -> None:
        """End this run when a signal asked for that: wait for the running save and raise the signal's exception."""
        if self._termination.pending is None:
            return
        self._writer.flush()
        if pending := self._termination.take():
            saved = f"; {self._writer.newest} is saved" if self._writer.newest else ""
            raise type(pending)(f"{pending}{saved}")

    def pause(self) -> None:
        """Stop deferring signals, because no loop checks for them now. Raise a pending one soon, and others at once."""
        self._termination.defer(False)
        self._termination.raise_soon()

    def finish(self) -> None:
        """Wait for the running save at the end of the phase's work. Raise the exception of a signal that came since."""
        self._termination.defer()
        with self._termination.step_ended():
            self.wait_until_saved()
        self._termination.obey_at_once()

    def wait_until_saved(self) -> str:
        """Wait for the running save, and log a warning when it fails.

        Returns:
            The name of this run's newest complete checkpoint, else of the one that it resumed from, else empty.
        """
        try:
            self._writer.flush()
        except PhaseError as error:
            _logger.warning(f"{error}")
        loaded: LoadedCheckpoint | None = self.__dict__.get("resumed")
        return self._writer.newest or (loaded.name if loaded else "")

    def last_good(self) -> str:
        """Find the newest finite checkpoint after training diverged, and mark the newer ones as bad.

        Returns:
            `step-000100 of run ID`, empty when no checkpoint is finite.
        """
        newest = self.wait_until_saved()
        earlier = self._chain(self._resumed_from) if self._resumed_from else ()
        try:
            finite, rejected = newest_finite(chain([self._run], earlier), self._records.bad_checkpoint)
        except PhaseError as error:
            _logger.warning(f"{self._phase.name}: {error}")
            return newest
        for sentence in rejected:
            _logger.info(f"{self._phase.name}: rejected checkpoint {sentence}")
        return f"{finite.name} of run {finite.run_id}" if finite else ""

    # --- in the writer's thread ---

    def _committing(self, name: str) -> None:
        self._records.check_owner(self._run.run_id)
        # A later run may resume from it only while what was read until now is unchanged.
        self._before_publishing()
        if not self._writer.newest:
            # Before the first manifest: a process that is killed between manifest and tag stays resumable.
            self._records.first_checkpoint(self._run.run_id, name)

    def _saved(self, name: str, manifest: Manifest, stall_seconds: float) -> None:
        run_id = self._run.run_id
        # First, because later checkpoints may need its files even if its tag cannot be written now.
        self._stored[name] = StoredCheckpoint.of(name, manifest)
        self._records.checkpoint(run_id, name)
        self._records.metrics(run_id, {schema.STALL_MS: stall_seconds * 1000}, manifest.step or 0)
        self._remove_outdated()

    def _remove_outdated(self) -> None:
        removal = plan_removal(list(self._stored.values()), self._phase.checkpoints, self._phase.quality)
        try:
            self._store.remove(removal.files)
        except Exception as error:
            # This costs disk space but no progress, and is retried after the next save.
            if not self._cannot_remove:
                self._cannot_remove = True
                _logger.warning(f"{self._phase.name}: old checkpoints cannot be removed and stay for now: {error}")
            return
        for removed in removal.checkpoints:
            left = {path: size for path, size in self._stored[removed].files.items() if path not in removal.files}
            del self._stored[removed]
            if left:
                self._stored[removed] = StoredCheckpoint(removed, 0, left, complete=False)


def copy_metrics(records: RunWriter, loaded: LoadedCheckpoint, target_id: str, label: str) -> None:
    """Copy an interrupted run's metrics from before a checkpoint, so that the MLflow UI shows one continuous curve.

    A metric is copied up to the step at which it had been logged when the checkpoint was saved. One that was not logged
    with `phase.log` is copied up to the step before the checkpoint.
    """
    client, batch = records.client, []
    logged = [name for name in phase_run(client.get_run(loaded.run_id)).metrics if not name.startswith("phase.")]
    with ThreadPoolExecutor(_HISTORIES_AT_ONCE) as pool:
        histories = pool.map(lambda name: client.get_metric_history(loaded.run_id, name), logged)
        for name in progress(logged, description=f"{label}: metrics of {short(loaded.run_id)}"):
            last = loaded.logged_steps.get(name, loaded.step - 1)
            batch += [metric for metric in next(histories) if metric.step <= last]
            while len(batch) >= _METRICS_AT_ONCE:
                client.log_batch(target_id, metrics=batch[:_METRICS_AT_ONCE])
                del batch[:_METRICS_AT_ONCE]
    if batch:
        client.log_batch(target_id, metrics=batch)
