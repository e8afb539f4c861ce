"""Change hidden states while a model writes: one forward hook on one layer, token by token, lengths kept.

An operator U lives among encoded states. On a real hidden state x it acts through the encoding and back,

    x' = decode(U encode(x)) = x + D W (K - I) W^H P x,    D z = Re(P^H P)^-1 Re(P^H z),

which is linear in x, so that the norm kept at encoding cancels, and which gives x back exactly for U = I. Then x' is
scaled to the length of x. The r columns of D W and the r rows of W^H P are worked out once, so that a token costs
O(r width) instead of O(dimension width). Strength s stands for U^s, a way along the arc from the identity to U.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sentiment_steering.operators.unitary import LowRankUnitary
from sentiment_steering.states.encoding import Encoding


class Intervention(Protocol):
    """Changes hidden states."""

    def shift(self, hidden: Tensor) -> Tensor:
        """Return the change of hidden states (..., width) float32, before their length is restored."""

    def to(self, device: torch.device) -> "Intervention":
        """Return the same intervention on the device of the model."""


@dataclass(frozen=True)
class LinearShift:
    """Add x @ down @ up + offset to a hidden state x; `down` (width, k), `up` (k, width), `offset` (width,)."""

    down: Tensor
    up: Tensor
    offset: Tensor

    def shift(self, hidden: Tensor) -> Tensor:
        return hidden @ self.down @ self.up + self.offset

    def to(self, device: torch.device) -> "LinearShift":
        return LinearShift(self.down.to(device), self.up.to(device), self.offset.to(device))


class OperatorSteering:
    """Make interventions of one operator's span at any strength; the costly part is done once for the span."""

    def __init__(self, encoding: Encoding, basis: Tensor) -> None:
        self.right = basis.mH @ encoding.matrix.to(basis.dtype)
        real, imaginary = encoding.pull_back(basis), encoding.pull_back(-1j * basis)
        self.left = torch.complex(real, imaginary)

    def intervention(self, operator: LowRankUnitary, strength: float) -> LinearShift:
        """Return U^strength as an intervention. The operator must have the basis of this object."""
        core = operator.power(strength).core
        left = self.left @ (core - torch.eye(operator.rank, dtype=core.dtype))
        down = torch.cat([self.right.real, self.right.imag]).mT
        up = torch.cat([left.real.mT, -left.imag.mT])
        if down.shape[1] >= down.shape[0]:
            down, up = down @ up, torch.eye(down.shape[0], dtype=up.dtype)
        width = down.shape[0]
        return LinearShift(down.float().contiguous(), up.float().contiguous(), torch.zeros(width))


def difference_of_means(source: Tensor, target: Tensor, strength: float) -> LinearShift:
    """Return the usual steering vector: strength times mean(target) - mean(source) of hidden states (n, width)."""
    width = source.shape[1]
    offset = strength * (target.mean(0) - source.mean(0))
    return LinearShift(torch.zeros(width, 0), torch.zeros(0, width), offset.float())


@dataclass(frozen=True)
class IdentityRoundTrip:
    """Encode, decode and do nothing in between: the loss of the way there and back by itself."""

    encoding: Encoding

    def shift(self, hidden: Tensor) -> Tensor:
        states = hidden.reshape(-1, hidden.shape[-1]).cpu()
        back = self.encoding.decode(*self.encoding.encode(states))
        return (back - states).reshape(hidden.shape).to(hidden.device)

    def to(self, device: torch.device) -> "IdentityRoundTrip":
        return self  # P stays on the CPU: for one control it is not worth the memory of an accelerator


@dataclass
class ActivationChange:
    """Count the tokens that a hook changed, and sum up by how much."""

    tokens: int = 0
    total: float = 0.0
    norm_error: float = 0.0
    changed: int = 0

    @property
    def mean(self) -> float:
        """Mean of ||x' - x|| / ||x|| over the steered tokens."""
        return self.total / max(self.tokens, 1)

    def record(self, before: Tensor, after: Tensor) -> None:
        lengths = torch.linalg.vector_norm(before, dim=-1)
        moved = torch.linalg.vector_norm(after - before, dim=-1) / lengths
        self.tokens += moved.numel()
        self.total += float(moved.sum())
        self.changed += int((before != after).any(-1).sum())
        error = (torch.linalg.vector_norm(after, dim=-1) / lengths - 1).abs().max()
        self.norm_error = max(self.norm_error, float(error))


@contextmanager
def steer(block: nn.Module, intervention: Intervention) -> Iterator[ActivationChange]:
    """Steer every token that is about to be continued: the last one of the prompt, then each new one.

    The earlier tokens of the prompt are left alone. Prompts must be padded on the left. Each token's own hidden state
    is shifted by the intervention, and its length restored.
    """
    change = ActivationChange()

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        before = hidden[:, -1:].float()
        after = _same_length(before, before + intervention.shift(before))
        change.record(before, after)
        steered = torch.cat([hidden[:, :-1], after.to(hidden.dtype)], dim=1)
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    handle = block.register_forward_hook(hook)
    try:
        yield change
    finally:
        handle.remove()


def _same_length(before: Tensor, after: Tensor) -> Tensor:
    length, changed = (torch.linalg.vector_norm(side, dim=-1, keepdim=True) for side in (before, after))
    return torch.where(changed > 0, after * (length / changed), before)
