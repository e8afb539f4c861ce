"""Support a `Trainer` in several processes (DistributedDataParallel, DDP).

Weights, optimizer, schedule and step are equal in all processes after every step. So rank 0's checkpoint is valid for
all of them, and nothing is gathered to save it. Each process restores it by itself. Random states differ, see
`RandomStreams`.
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
"""Texts in an error, in lower case, by which torch reports that another process of the training is gone."""


def refuse_sharded_state(trainer: Trainer, phase: str) -> None:
    """Raise PhaseError when the state is sharded, so that no process has the whole state."""
    parallel = getattr(trainer.accelerator, "parallelism_config", None)
    sizes = (getattr(parallel, f"{name}_size", 1) or 1 for name in ("tp", "cp", "sp", "dp_shard"))
    sharded = trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled or any(size > 1 for size in sizes)
    kind = str(trainer.accelerator.distributed_type.value)
    if sharded or (trainer.args.world_size > 1 and not kind.startswith("MULTI_")):
        raise PhaseError(
            f"{phase}: a phase trains in one process, or in several that each have a whole copy of the model (DDP). "
            f"Start it without DeepSpeed, FSDP or tensor parallelism ({kind})."
        )


def check_same_start(checkpoint: LoadedCheckpoint | None, phase: str) -> None:
    """Raise PhaseError in all processes when they would resume from different checkpoints. A collective call."""
    own = f"{checkpoint.name} of run {checkpoint.run_id}" if checkpoint else "the beginning"
    starts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(starts, own)
    if len(set(starts)) > 1:
        listed = ", ".join(f"process {number} from {start}" for number, start in enumerate(starts))
        raise PhaseError(
            f"{phase}: its processes would not start from one checkpoint: {listed}. Run the phase again once all of "
            "them can read the same checkpoints from the store."
        )


def average(loss: torch.Tensor) -> None:
    """Replace the summed loss of this process by the mean over all processes, in place. A collective call.

    Rank 0's checkpoint then contains the loss of all, and a NaN in one process is noticed in each before it reaches the
    weights.

    Args:
        loss: A float tensor with one element.
    """
    torch.distributed.all_reduce(loss)
    loss /= torch.distributed.get_world_size()


class RandomStreams:
    """Make the random numbers of several processes reproducible after a resume.

    Between epochs all processes have the random state of rank 0's checkpoint, so they draw the same order of examples.
    Each step draws (for dropout) from generators seeded by seed, step and rank, so their states need not be saved.

    Args:
        seed: The seed of the training.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._common: dict[str, Any] | None = None

    def epoch_begins(self) -> None:
        """Restore the random state that all processes have in common."""
        if self._common is not None:
            restore_random_state(self._common)
            self._common = None

    def step_begins(self, step: int) -> None:
        """Seed Python, torch and NumPy for one step of this process."""
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
    """Return whether a step failed because another process of the training is gone."""
    text = str(error).lower()
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in _LOST)
    )
