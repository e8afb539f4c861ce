"""Hold and store the two operators of phase 2, which share their basis."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file

from sentiment_steering.operators.unitary import LowRankUnitary
from sentiment_steering.states.encoded import read_tensors, unreadable

Direction = Literal["to_negative", "to_positive"]
DIRECTIONS: tuple[Direction, ...] = ("to_negative", "to_positive")


@dataclass(frozen=True)
class OperatorPair:
    """Hold one operator for each direction."""

    to_negative: LowRankUnitary
    to_positive: LowRankUnitary

    def __getitem__(self, direction: Direction) -> LowRankUnitary:
        return self.to_negative if direction == "to_negative" else self.to_positive

    def save(self, file: Path) -> None:
        """Write both as safetensors, in pairs of float64: as exactly unitary when read as when written."""
        parts = {
            "basis": self.to_negative.basis,
            "to_negative": self.to_negative.core,
            "to_positive": self.to_positive.core,
        }
        save_file({name: torch.view_as_real(part).contiguous() for name, part in parts.items()}, file)


def load_operators(folder: Path) -> OperatorPair:
    """Read operators.safetensors. Raises PhaseError when it is missing or another version wrote it."""
    tensors = read_tensors(folder / "operators.safetensors")
    try:
        basis, *cores = (torch.view_as_complex(tensors[name]) for name in ("basis", *DIRECTIONS))
    except KeyError as error:
        raise unreadable(folder, "operators", "phase2", error) from None
    return OperatorPair(LowRankUnitary(basis, cores[0]), LowRankUnitary(basis, cores[1]))
