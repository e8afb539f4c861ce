"""What a merge changes in each weight, and what part of that is lost because the result has so few digits."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

LOST_ATTENTION = 0.1
"""From this part of the change upwards the loss is pointed out, and float32 offered. In Frobenius norm: at 0.1 the
part that arrives, and the noise that rounding adds, are 20 dB apart.
"""


@dataclass(frozen=True)
class BlockRounding:
    """Of some rows of a weight matrix, all as in LayerChange; `weight`, `intended` and `lost` are squares of norms."""

    numbers: int
    weight: float
    intended: float
    lost: float
    changed: int
    unmoved: int


def measure(before: Tensor, delta: Tensor, after: Tensor) -> BlockRounding:
    """What arrives of a change of some rows: the base's weights and the result, both with the digits of the written
    dtype, and the change that was asked for, float32; all of one shape.
    """
    old = before.float()
    arrived = after.float() - old
    changed = _count_nonzero(arrived)
    unmoved = _count_nonzero(delta) - changed  # Where no change was asked for, none arrives.
    return BlockRounding(delta.numel(), _square(old), _square(delta), _square(arrived.sub_(delta)), changed, unmoved)


@dataclass
class LayerChange:
    """Of one weight matrix. Norms are Frobenius norms, all against the base as it is in the written dtype.

    `intended`: of the change that the adapter asks for. `lost`: of what arrives minus what was asked for.
    `changed`: how many numbers differ after the merge; `unmoved`: how many do not although they should.
    `measured`: how many of all `count` numbers were looked at; the others are taken to be like them.
    """

    module: str
    count: int
    largest_singular_value: float
    _weight: float = field(default=0.0, repr=False)
    _intended: float = field(default=0.0, repr=False)
    _lost: float = field(default=0.0, repr=False)
    _changed: int = field(default=0, repr=False)
    _unmoved: int = field(default=0, repr=False)
    measured: int = 0

    def add(self, block: BlockRounding) -> None:
        self.measured += block.numbers
        self._weight += block.weight
        self._intended += block.intended
        self._lost += block.lost
        self._changed += block.changed
        self._unmoved += block.unmoved

    @property
    def weight(self) -> float:
        return math.sqrt(self._weight * self._scale)

    @property
    def intended(self) -> float:
        return math.sqrt(self._intended * self._scale)

    @property
    def lost(self) -> float:
        return math.sqrt(self._lost * self._scale)

    @property
    def changed(self) -> int:
        return round(self._changed * self._scale)

    @property
    def unmoved(self) -> int:
        return round(self._unmoved * self._scale)

    @property
    def _scale(self) -> float:
        return _ratio(self.count, self.measured)

    def row(self) -> dict[str, float | str | int]:
        """As a row of the table of layers."""
        return {
            "module": self.module,
            "weights": self.count,
            "measured": self.measured,
            "weight_norm": _digits(self.weight),
            "change_norm": _digits(self.intended),
            "relative_change": _digits(_ratio(self.intended, self.weight)),
            "largest_singular_value": _digits(self.largest_singular_value),
            "share_changed": _digits(self.changed / self.count),
            "share_unmoved": _digits(self.unmoved / self.count),
            "lost_to_rounding": _digits(_ratio(self.lost, self.intended)),
        }


def total_row(layers: list[LayerChange]) -> dict[str, float | str | int]:
    """The same figures over all layers at once."""
    total = LayerChange("all", sum(layer.count for layer in layers), 0.0)
    for layer in layers:
        total.add(
            BlockRounding(layer.count, layer.weight**2, layer.intended**2, layer.lost**2, layer.changed, layer.unmoved)
        )
        total.largest_singular_value = max(total.largest_singular_value, layer.largest_singular_value)
    return {**total.row(), "measured": sum(layer.measured for layer in layers)}


def _count_nonzero(matrix: Tensor) -> int:
    if matrix.device.type == "cpu":
        return int(np.count_nonzero(matrix.numpy() != 0))  # A third of the time that torch takes for it.
    return int(torch.count_nonzero(matrix))


def _square(matrix: Tensor) -> float:
    flat = matrix.reshape(-1)
    return float(torch.dot(flat, flat))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _digits(value: float) -> float:
    """Six significant digits: what differs beyond them between processors is of no interest."""
    return float(f"{value:.6g}")
