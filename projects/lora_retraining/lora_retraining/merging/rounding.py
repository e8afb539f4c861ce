"""Measure the change of each weight in a merge, and the part of it that is lost by rounding."""

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
    """The figures of some rows, as in LayerChange; `weight`, `intended` and `lost` are squares of norms."""

    numbers: int
    weight: float
    intended: float
    lost: float
    changed: int
    unmoved: int


def measure(before: Tensor, delta: Tensor, after: Tensor) -> BlockRounding:
    """Measure the change of some rows that arrives, and the part that is lost.

    Args:
        before: The base's weights in the written dtype.
        delta: The change that was asked for, float32, of the same shape.
        after: The result in the written dtype.
    """
    old = before.float()
    arrived = after.float() - old
    changed = _count_nonzero(arrived)
    unmoved = _count_nonzero(delta) - changed  # Where no change was asked for, none arrives.
    return BlockRounding(delta.numel(), _square(old), _square(delta), _square(arrived.sub_(delta)), changed, unmoved)


@dataclass
class LayerChange:
    """The change of one weight matrix. Norms are Frobenius norms, all against the base in the written dtype.

    Attributes:
        intended: Norm of the change that the adapter asks for.
        lost: Norm of the arriving change minus the intended one.
        changed: Numbers that differ after the merge.
        unmoved: Numbers that do not differ although they should.
        measured: Numbers that were measured of all `count`; the others are taken to be like them.
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
        """Return a row of the table of layers."""
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
    """Return the same figures over all layers at once."""
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
    """Round to six significant digits: processors differ beyond them."""
    return float(f"{value:.6g}")
