"""Means with bootstrap intervals, and what is measured on operators."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from projects.sentiment_steering.operators import LowRankUnitary, centroid_rotation, fidelity, haar_unitary


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def bootstrap(values: np.ndarray | list[float], seed: int = 0, draws: int = 2000) -> Interval:
    """Percentile interval (Efron 1979) of the mean of paired differences or single values.

    Raises ValueError when there are no values.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size == 0:
        raise ValueError("there is nothing to average")
    picks = np.random.default_rng(seed).integers(0, len(sample), size=(draws, len(sample)))
    low, high = np.percentile(sample[picks].mean(axis=1), [2.5, 97.5])
    return Interval(float(sample.mean()), float(low), float(high))


def operator_fidelities(
    operator: LowRankUnitary,
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    seed: int,
) -> dict[str, Tensor]:
    """Fidelity per held-out pair of the operator and its controls, and of the operator per training pair (`train`).

    `train` and `held_out` are (source, target). Controls: the identity, the centroid rotation of the training pairs and
    a unitary drawn evenly from all on the operator's span.
    """
    random = LowRankUnitary(operator.basis, haar_unitary(operator.rank, seed))
    return {
        "train": fidelity(operator, *train),
        "held_out": fidelity(operator, *held_out),
        "identity": fidelity(None, *held_out),
        "centroid": fidelity(centroid_rotation(*train), *held_out),
        "random_unitary": fidelity(random, *held_out),
    }


@dataclass(frozen=True)
class RoundTrip:
    """What is left of states after one operator and then another, and how far the product is from the identity."""

    fidelities: Tensor
    product_error: float
    product_distance: float


def round_trip(first: LowRankUnitary, second: LowRankUnitary, states: Tensor) -> RoundTrip:
    """`second` after `first`: |<psi|U2 U1|psi>|^2 of states (n, d), and the size of U2 U1 - I in two measures."""
    product = second @ first
    states = torch.nn.functional.normalize(states.to(torch.complex128), dim=1)
    error = (product.core - torch.eye(product.rank, dtype=product.core.dtype)).abs().max()
    return RoundTrip(fidelity(product, states, states), float(error), product.distance_from_identity())
