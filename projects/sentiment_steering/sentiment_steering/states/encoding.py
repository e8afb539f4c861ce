"""Encode real hidden states as complex unit vectors, and decode them.

A hidden state x of `width` real numbers becomes psi = P x / ||P x||, where P is a complex Gaussian matrix of shape
(dimension, width) with unit columns and dimension = round(2.604 * width), so that a width of 3584 gives 9333.
The length ||P x|| is kept beside psi: without it there is no way back.

P maps real vectors into a real subspace of C^dimension. A unitary operator leaves that subspace, so the way back is the
real vector whose image lies nearest, min over real x of ||P x - z||: x = Re(P^H P)^-1 Re(P^H z). For z = P x it is x.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

DIMENSION_PER_WIDTH = 2.604


def encoded_dimension(width: int) -> int:
    """Return the number of complex amplitudes for a hidden state of `width` numbers.

    >>> encoded_dimension(3584)
    9333
    """
    return round(DIMENSION_PER_WIDTH * width)


@dataclass(frozen=True)
class Encoding:
    """Map hidden states linearly to unit vectors, by a seeded matrix.

    Width and seed give the same P on every machine, so P is made again rather than stored.
    """

    width: int
    seed: int = 0

    @property
    def dimension(self) -> int:
        return encoded_dimension(self.width)

    @cached_property
    def matrix(self) -> Tensor:
        """P, complex64, shape (dimension, width), columns of length 1."""
        generator = torch.Generator().manual_seed(self.seed)
        parts = torch.randn(self.dimension, self.width, 2, generator=generator)
        matrix = torch.view_as_complex(parts)
        return matrix.div_(torch.linalg.vector_norm(matrix, dim=0))

    @cached_property
    def gram(self) -> Tensor:
        """Re(P^H P), float64, shape (width, width): the normal equations of the way back."""
        return (self.matrix.mH @ self.matrix).real.double()

    @cached_property
    def condition(self) -> float:
        """Bound on how much decoding magnifies an error: largest over smallest singular value of P on real vectors."""
        eigenvalues = torch.linalg.eigvalsh(self.gram)
        return float((eigenvalues[-1] / eigenvalues[0]).sqrt())

    def encode(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return unit vectors (n, dimension) complex64 and lengths (n,) float32 of hidden states (n, width).

        Raises:
            ValueError: a hidden state is zero or not finite, and so has no direction.
        """
        image = hidden.float().to(torch.complex64) @ self.matrix.T
        norm = torch.linalg.vector_norm(image, dim=1)
        if not bool((norm > 0).all() and norm.isfinite().all()):
            raise ValueError("a hidden state is zero or not finite and cannot be encoded")
        return image / norm[:, None], norm

    def decode(self, states: Tensor, norm: Tensor) -> Tensor:
        """Return the hidden states (n, width) float32 that lie nearest to `norm` times the unit vectors `states`."""
        return self.pull_back(states.mT * norm).mT.float()

    def pull_back(self, columns: Tensor) -> Tensor:
        """Return Re(P^H P)^-1 Re(P^H Z) in float64 for the columns of Z, shape (dimension, m) complex."""
        projected = (self.matrix.mH @ columns.to(torch.complex64)).real.double()
        return torch.linalg.solve(self.gram, projected)


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Return |<second_i|first_i>|^2 of unit vectors (n, d), row by row; float64, shape (n,)."""
    return (second.conj() * first.to(torch.complex128)).sum(1).abs().square()
