"""The phase as its script holds it while it computes: inputs, outputs, metrics, steps and checkpoints."""

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
from mlflow_plugin.observation.recorder import unobserved
from mlflow_plugin.progress import Progress, progress
from mlflow_plugin.project.parameters import Value, unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.manifest import safe_relative_path
from mlflow_plugin.store.outputs import fetch_outputs, inputs_cache
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

T = TypeVar("T")


class ActivePhase:
    """The phase that this process computes. Made by `start_phase`.

    Attributes:
        run_id: The MLflow run.
        name: The phase's name.
        parameters: Typed values by name.
        processes: How many processes compute together, as their launcher said.
    """

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
        vital = {metric for gate in phase.gates for metric in gate.metrics}
        self._watch = MetricWatch(
            quality.metric if quality else None, quality.higher_is_better if quality else True, vital
        )

    # --- inputs and outputs ---

    def input(self, need: str) -> Path:
        """Return the folder with an upstream phase's outputs, every byte verified. It is read-only.

        Raises:
            UsageError: The phase does not declare that need, or it has a matrix.
            PhaseError: The files are damaged or gone.
        """
        run = self._input_run(need)
        if run.members:
            raise UsageError(
                f"{self.name}: {need} has a matrix, so its outputs are those of {len(run.members)} runs: take the "
                f"folders with phase.inputs({need!r})."
            )
        return self._folder(run)

    def inputs(self, need: str) -> list[Path]:
        """Return the folders with the outputs of all runs of an upstream phase with a matrix, in its order.

        Every byte is verified, and the folders are read-only. Of a phase without a matrix it is the one folder.

        Raises:
            UsageError: The phase does not declare that need.
            PhaseError: The files are damaged or gone.
        """
        return [self._folder(run) for run in self._input_run(need).each]

    def input_values(self, need: str) -> list[dict[str, str]]:
        """Return the parameters of each run behind `inputs(need)`, as texts: with `at_least` some may be missing.

        Raises:
            UsageError: The phase does not declare that need.
        """
        each = self._input_run(need).each
        return [{name: unquoted(text) for name, text in run.parameters.items()} for run in each]

    def _folder(self, run: PhaseRun) -> Path:
        if run.run_id not in self._folders:
            with unobserved():  # It counts by the digest of the run's outputs.
                self._folders[run.run_id] = fetch_outputs(self._client, run, inputs_cache())
        return self._folders[run.run_id]

    def quarantine(self, need: str, reason: str) -> None:
        """Quarantine the run behind an input that this phase has found to be bad: nothing built on it is reused any
        more.

        Raises:
            UsageError: The phase does not declare that need, or it has a matrix.
        """
        run = self._input_run(need)
        if run.members:
            raise UsageError(
                f"{self.name}: {need} has a matrix, and a quarantine is for one of its runs: "
                "`mlflow-phases quarantine RUN --reason WHY`."
            )
        self._records.quarantine(run.reused_run_id or run.run_id, reason)
        _logger.info(f"{self.name}: {need} {short(run.reused_run_id or run.run_id)} is quarantined: {reason}")

    def _input_run(self, need: str) -> PhaseRun:
        if need not in self._inputs:
            declared = ", ".join(self._inputs) or "none"
            raise UsageError(f"{self.name} does not need {need!r}; its `needs:` in the MLproject file are: {declared}.")
        return self._inputs[need]

    def output(self, name: str, save: Callable[[Path], object] | Path | str) -> None:
        """Declare an output.

        Nothing is visible to others until the phase ends well; then all outputs are uploaded, read back and committed.

        Args:
            name: Its relative path among the outputs.
            save: A function that writes it to the path that it is given, or an existing file or folder to copy.
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
        """Log metrics and watch them.

        NaN and Inf in other metrics, spikes, plateaus and overfitting are warnings.

        Args:
            values: Metrics by name.
            step: The step; by default the loop's current one.
            **metrics: Metrics by name.

        Raises:
            PhaseError: At some step a loss, a gradient, the quality metric or a gate's metric is NaN or Inf. The
                message names the last good checkpoint.
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
                _logger.warning(f"{self.name}: {text}")
        self._latest.update(logged)

    def _advice(self) -> str:
        if good := self._checkpoints.last_good():
            return f"The last good checkpoint is {good}. Fix the cause and run it again to resume from there."
        return "There is no good checkpoint. Fix the cause and start again with -P decide=rerun."

    def describe(self, markdown: str) -> None:
        """Set the run's description in the MLflow UI."""
        self._records.describe(self.run_id, markdown)

    def progress(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        """Yield the items and show how far the loop is, here and on the run. Of nested loops the outermost is shown."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        items_shown = progress(items, total, f"{self.name} {description}".strip())
        if self._counted or self._step is not None:
            yield from items_shown
            return
        self._counted = True
        try:
            for done, item in enumerate(items_shown):
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
        """Yield the step numbers from where the interrupted run stopped (else 0) up to `total`, and save `state` on the
        way.

        A signal is obeyed at the end of a step, once the state is saved.

        Args:
            total: The number of steps.
            state: Objects by name, with `state_dict()` and `load_state_dict()`, or dicts, lists or tensors that are
                restored in place. Random states are kept along with them.
            description: A word for the progress display.
            every: Save each so many steps; by default the expected duration decides.
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
        """Save a state as the one after `step` steps. A later run of the same identity resumes from the newest.

        It returns once the state is copied; writing and uploading happen in the background. When a signal asked this
        run to end, it waits for that, and the run ends here.

        Raises:
            PhaseError: The state cannot be saved (the message names the object), or an earlier checkpoint could not be.
        """
        self._heartbeat.step = step
        with unobserved():
            self._checkpoints.save(state, step, self._latest)

    def checkpoint_due(self, done: int, total: int | None = None, *, every: int | None = None) -> bool:
        """Return whether to save after `done` steps (of `total`, if known).

        The expected duration and the cost of saving decide, or `every`, in steps, or a signal that asks this run to
        end.
        """
        self._heartbeat.step = done
        self._heartbeat.total = self._total = total
        return self._checkpoints.due(done, total, every)

    def end_of_steps(self) -> None:
        """Declare that no `checkpoint` follows, so that a signal waits for none. `steps` does it by itself."""
        self._step = self._total = None
        self._checkpoints.pause()

    def resumed_checkpoint(self) -> LoadedCheckpoint | None:
        """Return the newest intact checkpoint of the interrupted run that this one resumes; None when there is none."""
        with unobserved():
            return self._checkpoints.resumed

    def restore(self, state: Mapping[str, Any]) -> int:
        """Restore what `checkpoint` saved into the same objects, with the random states.

        Returns:
            The number of steps that are done; 0 without a checkpoint.

        Raises:
            PhaseError: The objects do not fit the checkpoint.
        """
        with unobserved():
            return self._checkpoints.restore(state)

    def in_processes(self, count: int) -> None:
        """Continue in `count` processes of this machine: torchrun starts the script again in each, and rank 0 is this
        phase.

        Call it before anything else is done with the phase. It returns at once in those processes, and for one.

        Raises:
            UsageError: `count` is below 1.
        """
        if count < 1:
            raise UsageError(f"{self.name}: the number of processes must be at least 1, got {count}.")
        if count == 1 or self.processes > 1:
            return
        _logger.info(f"{self.name}: continues in {count} processes")
        self._heartbeat.stop()
        shutil.rmtree(self._staging, ignore_errors=True)
        # What decided here keeps the project's log; a backend that decided does so by itself.
        launched = {} if os.environ.get(DECIDED) == self.run_id else {LAUNCHED: self.run_id}
        restart_with_torchrun(count, {DECIDED: self.run_id, **launched})

    def batch_size(self, size: int, accumulation: int = 1) -> BatchSize:
        """Return a batch that is halved, with twice the accumulation, when a step runs out of memory; see
        `BatchSize.fit`.

        Put it into the state of the loop. A change is logged.

        Raises:
            UsageError: A size is below 1.
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
