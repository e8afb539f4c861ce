"""Measure operators: their fidelity beside that of controls, and round trips."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sentiment_steering.operators.unitary import LowRankUnitary, centroid_rotation, fidelity, haar_unitary


def operator_fidelities(
    operator: LowRankUnitary,
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    seed: int,
) -> dict[str, Tensor]:
    """Return the fidelity of each held-out pair under the operator and its controls, and of each training pair.

    Controls: the identity, the centroid rotation of the training pairs, and a unitary drawn evenly from all on the
    operator's span.

    Args:
        operator: The operator of one direction.
        train: Training states, (start, target), each (n, dimension).
        held_out: Held-out states alike.
        seed: Draws the random unitary.
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
    """Hold the fidelities of states after one operator and then another, and the distance of the product from I."""

    fidelities: Tensor
    product_error: float
    product_distance: float


def round_trip(first: LowRankUnitary, second: LowRankUnitary, states: Tensor) -> RoundTrip:
    """Measure `second` after `first`: |<psi|U2 U1|psi>|^2 of states (n, d), and the size of U2 U1 - I in two norms."""
    product = second @ first
    states = torch.nn.functional.normalize(states.to(torch.complex128), dim=1)
    error = (product.core - torch.eye(product.rank, dtype=product.core.dtype)).abs().max()
    return RoundTrip(fidelity(product, states, states), float(error), product.distance_from_identity())
