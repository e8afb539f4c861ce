"""What is watched while a model trains, beside what the phase watches by itself (NaN, spikes, plateaus of the loss):
whether the loss falls, how large gradients were, how fast it goes, how busy the machine is.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from mlflow_plugin.machine.hardware import usage
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.progress import Progress
from retraining.chat import IGNORED
from retraining.training.batches import Row, collate
from retraining.training.plan import Plan

OF_THE_MACHINE = "system/"
"""Begins the names of metrics that say nothing about the model; MLflow and the phases' comparison hold by it."""


class Monitor(TrainerCallback, ExportableState):
    """Shows how far training is, and logs throughput and the use of the machine with each of the Trainer's logs."""

    def __init__(self, phase: ActivePhase, plan: Plan) -> None:
        self._phase, self._plan = phase, plan
        self.loss_before = 0.0
        self.largest_gradient = 0.0
        self._meter: Progress | None = None
        self._latest = ""

    def state(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        kept = {"loss_before": self.loss_before, "largest_gradient": self.largest_gradient}
        return {"args": {}, "attributes": kept}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._meter = Progress(f"{self._phase.name} training", state.max_steps, state.global_step)
        self._mark(state)
        usage()  # The share of the CPU is that since it was last asked for.

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
        # Of an epoch's mean step: counting in the batches themselves would hold up a GPU at each.
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
        self._phase.log({f"{OF_THE_MACHINE}{name}": value for name, value in figures.items()}, step=state.global_step)
        self._mark(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._meter is not None:
            self._meter.close()
        peak = {f"{OF_THE_MACHINE}{name}": size / 2**30 for name, size in peak_memory().items()}
        self._phase.log(peak, step=state.global_step)

    def _mark(self, state: TrainerState) -> None:
        self._step, self._time = state.global_step, time.perf_counter()


def peak_memory() -> dict[str, int]:
    """Most bytes at once of this process: `memory_peak_gib` resident, `gpu_memory_peak_gib` on its fullest GPU."""
    memory = psutil.Process().memory_info()
    peaks = {"memory_peak_gib": getattr(memory, "peak_wset", 0) or _resident_peak()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        peaks["gpu_memory_peak_gib"] = max(
            torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())
        )
    return peaks


def _resident_peak() -> int:
    """Bytes; 0 on Windows, which has psutil's `peak_wset`."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def mean_loss(model: Any, rows: Sequence[Row], device: torch.device) -> float:
    """Mean cross entropy in nats over all supervised tokens of these rows, without dropout.

    On the same rows before and after training it tells whether the loss fell, where single batches only tell how hard
    they are.
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
