"""What a phase's script holds while it runs: its inputs, outputs, metrics, steps and checkpoints."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin import names
from mlflow_plugin.artifacts import fetch_outputs
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.heart import Heart
from mlflow_plugin.history import phase_run
from mlflow_plugin.manifest import safe_relative_path
from mlflow_plugin.parameters import Value
from mlflow_plugin.progress import Progress, progress, say
from mlflow_plugin.records import Records
from mlflow_plugin.runs import PhaseRun

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
        name: str,
        parameters: Mapping[str, Value],
        inputs: Mapping[str, PhaseRun],
        resumed_from: PhaseRun | None,
        staging: Path,
        heart: Heart,
    ) -> None:
        self.run_id = run_id
        self.name = name
        self.parameters = dict(parameters)
        self._records, self._client = records, records.client
        self._inputs, self._resumed_from = inputs, resumed_from
        self._staging, self._heart = staging, heart
        self._folders: dict[str, Path] = {}
        self._latest: dict[str, float] = {}
        self._step: int | None = None
        self._warned: set[str] = set()

    # --- inputs and outputs ---

    def input(self, need: str) -> Path:
        """The folder with an upstream phase's outputs, every byte verified. Read-only: do not write into it.

        Raises UsageError when the phase does not declare that need, PhaseError when the files are damaged or gone.
        """
        if need not in self._inputs:
            declared = ", ".join(self._inputs) or "none"
            raise UsageError(f"{self.name} does not need {need!r}; its `needs:` in the MLproject file are: {declared}.")
        if need not in self._folders:
            self._folders[need] = fetch_outputs(self._client, self._inputs[need], inputs_cache())
        return self._folders[need]

    def output(self, name: str, save: Callable[[Path], object] | Path | str) -> None:
        """Declares an output: `save(path)` writes it, or a file or folder that exists is copied.

        Nothing is visible to others until the phase ends well; then all outputs are uploaded, read back and committed.
        """
        target = self._staging / safe_relative_path(name)
        if target.name == names.MANIFEST_FILE and target.parent == self._staging:
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
        """Logs metrics, at the loop's current step unless another is given. A NaN or Inf is pointed out once per
        metric.
        """
        logged = {**(values or {}), **metrics}
        at = step if step is not None else self._step
        for name, value in logged.items():
            if not math.isfinite(value) and name not in self._warned:
                self._warned.add(name)
                say(f"{self.name}: attention: {name} is {value}" + (f" at step {at}" if at is not None else ""))
        self._latest.update({name: float(value) for name, value in logged.items()})
        self._records.metrics(self.run_id, logged, at or 0)

    def describe(self, markdown: str) -> None:
        """Sets the run's description in the MLflow UI."""
        self._records.describe(self.run_id, markdown)

    def progress(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        """Yields the items and says how far the loop is."""
        return progress(items, total, f"{self.name} {description}".strip())

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
        `every`.
        """
        from mlflow_plugin.checkpoints.schedule import CheckpointSchedule

        first = self._restore(state) if state is not None else 0
        meter = Progress(f"{self.name} {description}".strip(), total, first)
        began = saved_at = time.monotonic()
        cost = 0.0
        try:
            for step in range(first, total):
                self._step = step
                yield step
                self._heart.step = step + 1
                meter.advance(self._remark())
                now, done = time.monotonic(), step + 1
                schedule = CheckpointSchedule((now - began) / (done - first) * total, every)
                if state is not None and done < total and schedule.due(done, now, saved_at, cost):
                    self.checkpoint(state, done)
                    saved_at = time.monotonic()
                    cost = saved_at - now
        finally:
            self._step = None
            meter.close()

    def checkpoint(self, state: Mapping[str, Any], step: int) -> None:
        """Saves a state now, as the state after `step` steps; a later run of the same identity goes on from it."""
        from mlflow_plugin.checkpoints.state import capture_random_state, collect
        from mlflow_plugin.checkpoints.store import write_checkpoint

        began = time.monotonic()
        content = {"state": collect(state), "random": capture_random_state()}
        name = write_checkpoint(self._client, self.run_id, step, content, dict(self._latest))
        self._records.checkpoint(self.run_id, name)
        self._records.metrics(self.run_id, {names.STALL_MS: (time.monotonic() - began) * 1000}, step)

    def _restore(self, state: Mapping[str, Any]) -> int:
        from mlflow_plugin.checkpoints.state import restore, restore_random_state
        from mlflow_plugin.checkpoints.store import newest_sound

        if self._resumed_from is None:
            return 0
        found = newest_sound(self._resumed_from)
        if found is None:
            say(f"{self.name}: no checkpoint of {self._resumed_from.short} verifies; starting from the beginning")
            return 0
        step, content, skipped = found
        for sentence in skipped:
            say(f"{self.name}: passed over {sentence}")
        if not isinstance(content, dict):
            raise PhaseError(
                f"{self.name}: the checkpoint at step {step} of {self._resumed_from.short} is of another form."
            )
        restore(state, content["state"])
        restore_random_state(content["random"])
        copy_metrics(self._client, self._resumed_from.run_id, self.run_id, step)
        say(f"{self.name}: goes on from step {step} of {self._resumed_from.short}")
        return step

    def _remark(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in list(self._latest.items())[:3])


def copy_metrics(client: MlflowClient, source_id: str, target_id: str, before_step: int) -> None:
    """Takes over the interrupted run's metrics of earlier steps, so that the MLflow UI shows one curve."""
    source = phase_run(client.get_run(source_id))
    for name in source.metrics:
        if name.startswith("phase."):
            continue
        try:
            kept = [metric for metric in client.get_metric_history(source_id, name) if metric.step < before_step]
        except MlflowException:
            continue
        for start in range(0, len(kept), 1000):
            client.log_batch(target_id, metrics=kept[start : start + 1000])
