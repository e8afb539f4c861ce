"""Watch a training: the size of gradients, the throughput, the use of the machine, and the loss on fixed rows.

The phase itself watches for NaN, spikes and plateaus of the loss.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from lora_retraining.data.chat import IGNORED, Row
from lora_retraining.training.batches import collate
from lora_retraining.training.plan import Plan
from mlflow_plugin.machine.hardware import usage
from mlflow_plugin.progress import Progress

MACHINE_PREFIX = "system/"
"""Begins the names of metrics of the machine, as MLflow has it; comparisons of runs leave them out."""


class Log(Protocol):
    """Logs metrics at a step."""

    def __call__(self, values: Mapping[str, float], /, *, step: int | None = None) -> None: ...


class Monitor(TrainerCallback, ExportableState):
    """Show the progress of a training; log throughput and the use of the machine with each of the Trainer's logs."""

    def __init__(self, log: Log, plan: Plan) -> None:
        self._log, self._plan = log, plan
        self.loss_before = 0.0
        self.largest_gradient = 0.0
        self._meter: Progress | None = None
        self._latest = ""

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed run continues with."""
        kept = {"loss_before": self.loss_before, "largest_gradient": self.largest_gradient}
        return {"args": {}, "attributes": kept}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._meter = Progress("training", state.max_steps, state.global_step)
        self._mark(state)
        usage()  # The share of the CPU is measured since the last call.

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._meter is not None:
            self._meter.advance(self._latest)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self.largest_gradient = max(self.largest_gradient, float(logs.get("grad_norm", 0.0)))
        steps, seconds = state.global_step - self._step, time.perf_counter() - self._time
        if steps <= 0 or seconds <= 0:
            return
        rate = steps / seconds
        # From an epoch's mean step: counting in the batches themselves would stall a GPU at each.
        epochs = rate / self._plan.steps_per_epoch
        self._latest = f"loss {float(logs['loss']):.4g}, {epochs * self._plan.tokens:,.0f} tokens/s"
        figures = {
            "seconds_per_step": 1 / rate,
            "examples_per_second": epochs * self._plan.rows,
            "tokens_per_second": epochs * self._plan.tokens,
            "supervised_tokens_per_second": epochs * self._plan.supervised_tokens,
            "minutes_left": (state.max_steps - state.global_step) / rate / 60,
            **usage(),
        }
        self._log({f"{MACHINE_PREFIX}{name}": value for name, value in figures.items()}, step=state.global_step)
        self._mark(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._meter is not None:
            self._meter.close()
        peak = {f"{MACHINE_PREFIX}{name}": size / 2**30 for name, size in peak_memory().items()}
        self._log(peak, step=state.global_step)

    def _mark(self, state: TrainerState) -> None:
        self._step, self._time = state.global_step, time.perf_counter()


def peak_memory() -> dict[str, int]:
    """Return peaks of this process in bytes: `memory_peak_gib` resident, `gpu_memory_peak_gib` on its fullest GPU."""
    memory = psutil.Process().memory_info()
    peaks = {"memory_peak_gib": getattr(memory, "peak_wset", 0) or _resident_peak()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["gpu_memory_peak_gib"] = max(
            torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())
        )
    return peaks


def _resident_peak() -> int:
    """Return bytes; 0 on Windows, which has psutil's `peak_wset`."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def mean_loss(model: Any, rows: Sequence[Row], device: torch.device) -> float:
    """Return the mean cross entropy in nats over all supervised tokens of these rows, without dropout.

    Single batches differ in difficulty. The same rows before and after a training show if the loss fell.
    """
    training = model.training
    model.eval()
    total, count = 0.0, 0
    try:
        with torch.no_grad():
            for row in rows:
                batch = {name: tensor.to(device) for name, tensor in collate([row], 0).items()}
                supervised = sum(label != IGNORED for label in row["labels"][1:])
                if supervised:
                    total += float(model(**batch).loss) * supervised
                    count += supervised
    finally:
        model.train(training)
    return total / max(count, 1)
