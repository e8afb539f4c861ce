"""How many processes train together, each with a whole copy of the model (DistributedDataParallel), and what part of a
step each does.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from mlflow_plugin.errors import UsageError
from mlflow_plugin.machine.ranks import local_rank, process_count
from retraining.checks.memory import Precision, architecture, training_memory
from retraining.headers import TensorHeader
from retraining.presets import AUTO, Settings
from retraining.training.precision import precision_of

_ROOM = 0.95
"""The share of a GPU that training may be expected to fill."""


def choose_processes(settings: Settings, config: Mapping[str, Any], headers: Sequence[TensorHeader]) -> int:
    """The number asked for; `auto` is one on each GPU, as many as can share a step evenly, where training fits on one
    GPU by the estimate of preflight, and else one.

    Raises UsageError for a number by which a step cannot be divided, or with too few GPUs.
    """
    gpus = torch.cuda.device_count() if settings.device in (AUTO, "cuda") else 0
    if settings.processes:
        if 1 < settings.processes > gpus and settings.device != "cpu" and torch.cuda.is_available():
            raise UsageError(
                f"processes = {settings.processes}: there is a GPU for {gpus} of them; pass processes=auto."
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
    room = min(torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count()))
    return needed < _ROOM * room


def _divisible(settings: Settings, count: int) -> bool:
    return settings.batch_size * settings.accumulation % count == 0


def divided(settings: Settings, count: int) -> Settings:
    """What each of so many processes does of a step that stays as large as it was: fewer batches one after another, and
    where these do not go round, smaller ones. Raises UsageError when it cannot be divided.
    """
    if not _divisible(settings, count):
        total = settings.batch_size * settings.accumulation
        raise UsageError(
            f"processes = {count}: the {total} sequences of a step (batch_size {settings.batch_size} x accumulation "
            f"{settings.accumulation}) cannot be shared by so many. Pass a divisor of {total}."
        )
    one_after_another = math.gcd(settings.accumulation, count)
    return replace(
        settings,
        accumulation=settings.accumulation // one_after_another,
        batch_size=settings.batch_size // (count // one_after_another),
    )


def own_device(settings: Settings) -> str:
    """The device of this process, made the current one: of several processes on GPUs each has its own."""
    if process_count() == 1 or settings.device not in (AUTO, "cuda") or not torch.cuda.is_available():
        return settings.device
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"
