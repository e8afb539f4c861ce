"""A `Trainer` in several processes (DistributedDataParallel): what must be the same in all of them, and what must not.

Weights, optimizer, schedule and position are equal in all processes after every step, so rank 0's checkpoint is that of
all, and nothing has to be gathered to save it. Each puts it back by itself.
"""

import hashlib
import random
import sys
from typing import Any

import torch
from transformers import Trainer

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint
from mlflow_plugin.checkpoints.state import capture_random_state, restore_random_state
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.ranks import rank

_LOST = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")
"""What an error says when another process of the training is gone, in lower case."""


def refuse_spread_state(trainer: Trainer, phase: str) -> None:
    """Raises PhaseError when no process has the whole state."""
    parallel = getattr(trainer.accelerator, "parallelism_config", None)
    within = (getattr(parallel, f"{name}_size", 1) or 1 for name in ("tp", "cp", "sp", "dp_shard"))
    spread = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or any(size > 1 for size in within)
    kind = str(trainer.accelerator.distributed_type.value)
    if spread or (trainer.args.world_size > 1 and not kind.startswith("MULTI_")):
        raise PhaseError(
            f"{phase}: a phase trains in one process, or in several with a whole copy of the model each (DDP); start "
            f"it without DeepSpeed, FSDP or tensor parallelism ({kind})."
        )


def check_same_start(checkpoint: LoadedCheckpoint | None, phase: str) -> None:
    """Raises PhaseError, in all processes, when they do not go on from one checkpoint. To be called by all of them."""
    mine = f"{checkpoint.name} of run {checkpoint.run_id}" if checkpoint else "the beginning"
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, mine)
    if len(set(found)) > 1:
        told = ", ".join(f"process {number} from {what}" for number, what in enumerate(found))
        raise PhaseError(
            f"{phase}: its processes would not start from one checkpoint: {told}. The store must show all of them the "
            "same; run it again once it does."
        )


def average(loss: torch.Tensor) -> None:
    """Makes the summed loss of this process the mean over all, in place. To be called by all of them.

    A checkpoint that rank 0 saves then has the loss of all, and a NaN in one process is seen in each before it reaches
    the weights.
    """
    torch.distributed.all_reduce(loss)
    loss /= torch.distributed.get_world_size()


class RandomStreams:
    """Random numbers of several processes that come out the same after a resume.

    Between epochs all processes are in one state, that of rank 0's checkpoint, so they draw one order of the examples.
    Each step draws (for dropout) from a state of its own, which follows from seed, step and rank: it need not be saved.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._common: dict[str, Any] | None = None

    def epoch_begins(self) -> None:
        if self._common is not None:
            restore_random_state(self._common)
            self._common = None

    def step_begins(self, step: int) -> None:
        if self._common is None:
            self._common = capture_random_state()
        digest = hashlib.sha256(f"{self._seed} {step} {rank()}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        random.seed(seed)
        torch.manual_seed(seed)
        if "numpy" in sys.modules:
            import numpy as np

            np.random.seed(seed)


def other_process_lost(error: Exception) -> bool:
    """Whether a step failed because another process of the training is gone."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in _LOST)
    )
