"""What a phase's script holds while it runs: its inputs, outputs, metrics, steps and checkpoints."""

import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any, TypeVar

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint
from mlflow_plugin.checkpoints.session import CheckpointSession
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.execution.handover import DECIDED, LAUNCHED
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.records import Records
from mlflow_plugin.format import short
from mlflow_plugin.guardrails.memory import BatchSize
from mlflow_plugin.guardrails.watch import MetricWatch
from mlflow_plugin.machine.ranks import process_count, rank, restart_with_torchrun
from mlflow_plugin.progress import Progress, progress
from mlflow_plugin.project.parameters import Value
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import fetch_outputs
from mlflow_plugin.store.manifest import safe_relative_path
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

T = TypeVar("T")


def inputs_cache() -> Path:
    """Where outputs fetched from a remote store are kept, by digest."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlflow-phases" / "inputs"


class ActivePhase:
    """The phase that this process computes. Made by `start_phase`."""

    def __init__(
        self,
        records: Records,
        run_id: str,
        phase: Phase,
        parameters: Mapping[str, Value],
        inputs: Mapping[str, PhaseRun],
        staging: Path,
        heartbeat: Heartbeat,
        checkpoints: CheckpointSession,
    ) -> None:
        self.run_id = run_id
        self.name = phase.name
        self.parameters = dict(parameters)
        self.processes = process_count()
        """How many processes compute it together, as their launcher said before this one began."""
        self._records, self._client = records, records.client
        self._inputs, self._staging = inputs, staging
        self._heartbeat, self._checkpoints = heartbeat, checkpoints
        self._folders: dict[str, Path] = {}
        self._latest: dict[str, float] = {}
        self._step: int | None = None
        self._total: int | None = None
        self._counted = False
        quality = phase.quality
        vital = {metric for gate in phase.gates for metric in (gate.left, gate.right)}
        self._watch = MetricWatch(
            quality.metric if quality else None, quality.higher_is_better if quality else True, vital
        )

    # --- inputs and outputs ---

    def input(self, need: str) -> Path:
        """The folder with an upstream phase's outputs, every byte verified. Read-only: do not write into it.

        Raises UsageError when the phase does not declare that need, PhaseError when the files are damaged or gone.
        """
        run = self._input_run(need)
        if need not in self._folders:
            self._folders[need] = fetch_outputs(self._client, run, inputs_cache())
        return self._folders[need]

    def quarantine(self, need: str, reason: str) -> None:
        """Marks the run that computed an upstream phase's outputs as do-not-use, for a phase that has found them bad:
        from now on nothing built on it is reused. Raises UsageError when the phase does not declare that need.
        """
        run = self._input_run(need)
        self._records.quarantine(run.reused_run_id or run.run_id, reason)
        _logger.info(f"{self.name}: {need} {short(run.reused_run_id or run.run_id)} is quarantined: {reason}")

    def _input_run(self, need: str) -> PhaseRun:
        if need not in self._inputs:
            declared = ", ".join(self._inputs) or "none"
            raise UsageError(f"{self.name} does not need {need!r}; its `needs:` in the MLproject file are: {declared}.")
        return self._inputs[need]

    def output(self, name: str, save: Callable[[Path], object] | Path | str) -> None:
        """Declares an output: `save(path)` writes it, or a file or folder that exists is copied.

        Nothing is visible to others until the phase ends well; then all outputs are uploaded, read back and committed.
        """
        target = self._staging / safe_relative_path(name)
        if target.name == schema.MANIFEST_FILE and target.parent == self._staging:
            raise UsageError(f"{self.name}: an output cannot be called {name!r}; the plugin writes that file.")
        target.parent.mkdir(parents=True, exist_ok=True)
        if callable(save):
            save(target)
            if not target.exists():
                raise PhaseError(f"{self.name}: saving the output {name!r} wrote nothing to {target}.")
        elif Path(save).is_dir():
            shutil.copytree(save, target, dirs_exist_ok=True)
        elif Path(save).is_file():
            shutil.copyfile(save, target)
        else:
            raise PhaseError(f"{self.name}: the output {name!r} cannot be taken from {save}: there is no such file.")

    # --- metrics and description ---

    def log(self, values: Mapping[str, float] | None = None, /, *, step: int | None = None, **metrics: float) -> None:
        """Logs metrics, at the loop's current step unless another is given, and watches them.

        Raises PhaseError when at some step a loss, a gradient, the quality metric or a gate's is NaN or Inf, naming the
        last good checkpoint; points out other such values, spikes, plateaus and overfitting.
        """
        logged = {name: float(value) for name, value in {**(values or {}), **metrics}.items()}
        at = step if step is not None else self._step
        self._records.metrics(self.run_id, logged, at or 0)
        self._checkpoints.logged(logged, at or 0)
        for name, value in logged.items():
            for alarm in self._watch.check(name, value, at, self._total):
                if alarm.kind == "stop" and at is not None:
                    raise PhaseError(f"{self.name}: {alarm.text}. {self._advice()}")
                # After the loop nothing is left to stop: the result is there, and how good it is will be asked.
                text = alarm.text if alarm.kind == "warn" else f"{name} is {value}"
                _logger.warning(f"{self.name}: attention: {text}")
        self._latest.update(logged)

    def _advice(self) -> str:
        if good := self._checkpoints.last_good():
            return f"The last good checkpoint is {good}. Mend the cause and run it again to go on from there."
        return "There is no good checkpoint. Mend the cause and start anew with -P decide=rerun."

    def describe(self, markdown: str) -> None:
        """Sets the run's description in the MLflow UI."""
        self._records.describe(self.run_id, markdown)

    def progress(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        """Yields the items and says how far the loop is, here and to whoever looks at the run. Of loops inside
        one another the outermost is told, of those inside `steps` none.
        """
        if total is None and isinstance(items, Sized):
            total = len(items)
        shown = progress(items, total, f"{self.name} {description}".strip())
        if self._counted or self._step is not None:
            yield from shown
            return
        self._counted = True
        try:
            for done, item in enumerate(shown):
                self._heartbeat.step, self._heartbeat.total = done, total
                yield item
        finally:
            self._counted = False
            self._heartbeat.step = self._heartbeat.total = None

    # --- steps and checkpoints ---

    def steps(
        self,
        total: int,
        state: Mapping[str, Any] | None = None,
        *,
        description: str = "",
        every: int | None = None,
    ) -> Iterator[int]:
        """Yields step numbers from where the interrupted run stopped (else 0) up to `total`, saving `state` on the way.

        `state` maps names to objects with `state_dict()` and `load_state_dict()`, or to dicts, lists or tensors that
        are restored in place. Random states are kept along with it. How often is decided by the expected duration, or
        `every`, in steps. A signal is obeyed at the end of a step, once the state is saved.
        """
        first = self.restore(state) if state is not None else 0
        meter = Progress(f"{self.name} {description}".strip(), total, first)
        self._total = total
        try:
            for step in range(first, total):
                self._step = step
                yield step
                self._heartbeat.step, self._heartbeat.total = step + 1, total
                meter.advance(self._remark())
                if state is not None and self.checkpoint_due(step + 1, total, every=every):
                    self.checkpoint(state, step + 1)
        finally:
            self.end_of_steps()
            meter.close()

    def checkpoint(self, state: Mapping[str, Any], step: int) -> None:
        """Saves a state as the one after `step` steps; a later run of the same identity goes on from the newest.

        Returns once the state is copied; it is written and uploaded beside what follows. When a signal asked this run
        to end, it is waited for, and the run ends here. Raises PhaseError naming what cannot be saved, and for an
        earlier checkpoint that could not be.
        """
        self._heartbeat.step = step
        self._checkpoints.save(state, step, self._latest)

    def checkpoint_due(self, done: int, total: int | None = None, *, every: int | None = None) -> bool:
        """Whether to save after `done` steps (of `total`, if known): by the expected duration and what saving costs, or
        each `every` steps; or because a signal asks this run to end.
        """
        self._heartbeat.step = done
        self._heartbeat.total = self._total = total
        return self._checkpoints.due(done, total, every)

    def end_of_steps(self) -> None:
        """Says that no `checkpoint` follows: a signal no longer waits for one. A loop of `steps` says it by itself."""
        self._step = self._total = None
        self._checkpoints.pause()

    def resumed_checkpoint(self) -> LoadedCheckpoint | None:
        """The newest sound checkpoint of the interrupted run that this one goes on from; None when there is none."""
        return self._checkpoints.resumed

    def restore(self, state: Mapping[str, Any]) -> int:
        """Puts what `checkpoint` saved back into the same objects, with the random states; returns the number of steps
        done, 0 without a checkpoint. Raises PhaseError when the two do not fit.
        """
        return self._checkpoints.restore(state)

    def in_processes(self, count: int) -> None:
        """Goes on in so many processes of this machine: torchrun starts the script again in each, and rank 0 is this
        phase. Call it first, before anything else is done with the phase. Returns at once in those processes, and for
        one. Raises UsageError below 1.
        """
        if count < 1:
            raise UsageError(f"{self.name}: {count} processes cannot be; they count from 1.")
        if count == 1 or self.processes > 1:
            return
        _logger.info(f"{self.name}: goes on in {count} processes")
        self._heartbeat.stop()
        shutil.rmtree(self._staging, ignore_errors=True)
        # What decided here keeps the project's log; a backend that decided does so by itself.
        launched = {} if os.environ.get(DECIDED) == self.run_id else {LAUNCHED: self.run_id}
        restart_with_torchrun(count, {DECIDED: self.run_id, **launched})

    def batch_size(self, size: int, accumulation: int = 1) -> BatchSize:
        """A batch that is halved, with twice the accumulation, when a step runs out of memory; see `BatchSize.fit`. Put
        it into the state of the loop. What it comes to is logged. Raises UsageError for sizes below 1.
        """

        def changed(batch: BatchSize) -> None:
            if process_count() > 1:
                raise PhaseError(
                    f"{self.name}: out of memory in process {rank()}, and one of several cannot take a smaller batch "
                    f"alone. Set {batch.size} samples at once for all, {batch.accumulation} times a step."
                )
            self.log({schema.BATCH_SIZE: batch.size, schema.BATCH_ACCUMULATION: batch.accumulation})

        return BatchSize(size, accumulation, changed, self.name)

    def _remark(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in list(self._latest.items())[:3])
