"""Plan a training before it begins: its processes and its steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from projects_common.models.headers import TensorHeader

from lora_retraining.base_model.loading import precision_of
from lora_retraining.checks.memory import Precision, architecture, training_memory
from lora_retraining.data.chat import IGNORED, Row
from lora_retraining.settings import AUTO, Settings
from mlflow_plugin.errors import UsageError
from mlflow_plugin.machine.ranks import local_rank, process_count

_USABLE = 0.95
"""The share of a GPU's memory that a training may be expected to fill."""


def choose_processes(settings: Settings, config: Mapping[str, Any], headers: Sequence[TensorHeader]) -> int:
    """Return the number of processes that train together, each with a whole copy of the model.

    `auto` is one on each GPU, as many as can share a step evenly, if training fits on one GPU by the estimate of
    preflight; else it is one process.

    Args:
        settings: With `processes` 0 for `auto`.
        config: The model's config.json.
        headers: The model's tensors.

    Raises:
        UsageError: A step cannot be divided by the number asked for, or there are too few GPUs.
    """
    gpus = torch.cuda.device_count() if settings.device in (AUTO, "cuda") else 0
    if settings.processes:
        if 1 < settings.processes > gpus and settings.device != "cpu" and torch.cuda.is_available():
            raise UsageError(
                f"processes = {settings.processes}: there are GPUs for {gpus} of them; pass processes=auto."
            )
        divided(settings, settings.processes)
        return settings.processes
    if gpus < 2:
        return 1
    best = max(count for count in range(1, gpus + 1) if _divisible(settings, count))
    return best if best > 1 and _fits_on_one(divided(settings, best), config, headers) else 1


def _fits_on_one(settings: Settings, config: Mapping[str, Any], headers: Sequence[TensorHeader]) -> bool:
    sizes = architecture(config)
    if sizes is None:
        return False
    dtype, autocast = precision_of(settings, torch.device("cuda"))
    use = Precision(dtype.itemsize, 2 if autocast else dtype.itemsize, cuda=True)
    needed = sum(training_memory(sizes, headers, settings, settings.max_length, use).values())
    smallest = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count()))
    return needed < _USABLE * smallest


def _divisible(settings: Settings, count: int) -> bool:
    return settings.batch_size * settings.accumulation % count == 0


def divided(settings: Settings, count: int) -> Settings:
    """Return the share of each of `count` processes in a step that stays as large as it was.

    Fewer batches follow one another; where that does not divide evenly, batches are smaller.

    Raises:
        UsageError: The step cannot be divided by `count`.
    """
    if not _divisible(settings, count):
        total = settings.batch_size * settings.accumulation
        raise UsageError(
            f"processes = {count}: the {total} sequences of a step (batch_size {settings.batch_size} x accumulation "
            f"{settings.accumulation}) cannot be shared by so many. Pass a divisor of {total}."
        )
    sequential = math.gcd(settings.accumulation, count)
    return settings.changed(
        accumulation=settings.accumulation // sequential, batch_size=settings.batch_size // (count // sequential)
    )


def own_device(settings: Settings) -> str:
    """Return the device of this process and make it current: of several processes each has a GPU of its own."""
    if process_count() == 1 or settings.device not in (AUTO, "cuda") or not torch.cuda.is_available():
        return settings.device
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"


@dataclass(frozen=True)
class Plan:
    """Count what a training will process.

    Attributes:
        sequences: Rows, or with packing the sequences that several rows are joined to.
        accumulation: Batches of one process in a step.
        steps: Steps of the optimizer in all epochs.
    """

    rows: int
    sequences: int
    tokens: int
    supervised_tokens: int
    batch_size: int
    accumulation: int
    processes: int
    epochs: float
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    learning_rate: float
    packing: str

    def sentence(self) -> str:
        """Describe the plan in one line."""
        return (
            f"{self.rows:,} rows in {self.sequences:,} sequences ({self.packing}), {self.tokens:,} tokens, "
            f"{self.supervised_tokens:,} of them learnt; {self.batch_size} x {self.accumulation} sequences a step"
            f"{f' in each of {self.processes} processes' if self.processes > 1 else ''} make "
            f"{self.steps_per_epoch:,} steps an epoch and {self.steps:,} in {self.epochs:g} epochs, "
            f"{self.warmup_steps} of them to warm up"
        )


def make_plan(rows: Sequence[Row], sequences: int, settings: Settings, processes: int = 1) -> Plan:
    """Count the steps as the Trainer takes them: the rest of an epoch is a smaller step of its own.

    Args:
        rows: Encoded rows.
        sequences: Their number after packing.
        settings: With the batch size and accumulation of one process.
        processes: Processes that train together.
    """
    batches = math.ceil(math.ceil(sequences / settings.batch_size) / processes)
    steps_per_epoch = max(1, math.ceil(batches / settings.accumulation))
    steps = math.ceil(settings.epochs * steps_per_epoch)
    tokens, supervised = count_tokens(rows)
    return Plan(
        rows=len(rows),
        sequences=sequences,
        tokens=tokens,
        supervised_tokens=supervised,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        processes=processes,
        epochs=settings.epochs,
        steps_per_epoch=steps_per_epoch,
        steps=steps,
        warmup_steps=min(settings.warmup_steps, steps // 10),
        learning_rate=settings.learning_rate,
        packing=settings.packing,
    )


def count_tokens(rows: Iterable[Row]) -> tuple[int, int]:
    """Count the tokens of all rows, and those with a label, which are learnt."""
    tokens = supervised = 0
    for row in rows:
        tokens += len(row["input_ids"])
        supervised += sum(label != IGNORED for label in row["labels"])
    return tokens, supervised
