"""Compute with unitary operators on encoded states: exactly unitary, and exactly the identity off the data.

Every operator has the form U = I + W (K - I) W^H. W, shape (d, r), is an orthonormal basis of the span of the training
states, r <= 2N, and K is a unitary matrix of U(r): d r + r^2 numbers instead of d^2. States are rows, shape (n, d).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from mlflow_plugin.machine.threads import threads_for
from sentiment_steering.states.encoding import overlap


@dataclass(frozen=True)
class LowRankUnitary:
    """Hold U = I + basis (core - I) basis^H; `basis` (d, r) and `core` (r, r), both complex128."""

    basis: Tensor
    core: Tensor

    @property
    def rank(self) -> int:
        return self.core.shape[0]

    @property
    def _shift(self) -> Tensor:
        return self.core - torch.eye(self.rank, dtype=self.core.dtype)

    def apply(self, states: Tensor) -> Tensor:
        """Return U psi for every row psi of `states` (n, d); complex128."""
        states = states.to(self.basis.dtype)
        return states + (states @ self.basis.conj()) @ self._shift.mT @ self.basis.mT

    def adjoint(self) -> "LowRankUnitary":
        """Return U^H, which is also the inverse."""
        return LowRankUnitary(self.basis, self.core.mH.contiguous())

    def power(self, exponent: float) -> "LowRankUnitary":
        """Return U^exponent on the shortest arc from I to U: 0 gives the identity, 1 U, 2 twice the rotation.

        K is normal, so its Schur form is diagonal and each eigenvalue e^(i a) becomes e^(i a exponent).
        """
        from scipy.linalg import schur

        triangle, vectors = (torch.from_numpy(part) for part in schur(self.core.numpy(), output="complex"))
        turned = torch.polar(torch.ones(self.rank, dtype=torch.float64), triangle.diagonal().angle() * exponent)
        # Written as a change, so that exponent 0 gives the identity to the last bit.
        identity = torch.eye(self.rank, dtype=self.core.dtype)
        return LowRankUnitary(self.basis, identity + (vectors * (turned - 1)) @ vectors.mH)

    def angles(self) -> Tensor:
        """Return the angle of rotation of each eigenvector, in radians, ascending; float64, shape (r,)."""
        return torch.linalg.eigvals(self.core).angle().abs().sort().values

    def distance_from_identity(self) -> float:
        """Return the root mean square over the basis of ||U w - w||: 0 for the identity, at most 2."""
        return float(torch.linalg.matrix_norm(self._shift) / self.rank**0.5)

    def unitarity_error(self) -> float:
        """Return the largest entry of |U^H U - I|, measured on the basis and on the core."""
        errors = [
            (part.mH @ part - torch.eye(part.shape[1], dtype=part.dtype)).abs().max()
            for part in (self.basis, self.core)
        ]
        return float(max(errors))

    def __matmul__(self, other: "LowRankUnitary") -> "LowRankUnitary":
        """Return the product: first `other`, then this. Raises ValueError when their bases differ."""
        if self.basis.shape != other.basis.shape or not torch.equal(self.basis, other.basis):
            raise ValueError("operators on different bases cannot be multiplied in their small space")
        return LowRankUnitary(self.basis, self.core @ other.core)


def span_basis(source: Tensor, target: Tensor) -> Tensor:
    """Return an orthonormal basis (d, r) complex128 of the span of the rows of both, r = min(d, 2N).

    complex128 because unitarity is as exact as this basis, and at d = 9333 and N = 50 it takes 15 MB.
    """
    both = torch.cat([source, target]).to(torch.complex128)
    with threads_for(len(both)):
        return torch.linalg.qr(both.mT).Q


def fidelity(operator: LowRankUnitary | None, source: Tensor, target: Tensor) -> Tensor:
    """Return |<target_i| U |source_i>|^2 of each pair, float64, shape (n,); None stands for the identity."""
    return overlap(source if operator is None else operator.apply(source), target)


def polar_factor(matrix: Tensor) -> Tensor:
    """Return the unitary matrix nearest to a square matrix of full rank: V W^H of its singular value decomposition."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def haar_unitary(rank: int, seed: int) -> Tensor:
    """Draw a unitary matrix evenly from U(rank), complex128 (Mezzadri 2007: QR with the phases of R made positive)."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(rank, rank, dtype=torch.complex128, generator=generator))
    return q * torch.sgn(r.diagonal())


def centroid_rotation(source: Tensor, target: Tensor) -> LowRankUnitary:
    """Return the smallest rotation that carries the mean direction of `source` to that of `target`: a control."""
    start, end = (torch.nn.functional.normalize(side.to(torch.complex128).mean(0), dim=0) for side in (source, target))
    overlap = torch.vdot(start, end)
    end = end * torch.sgn(overlap).conj()
    cosine = overlap.abs().clamp(max=1)
    across = end - cosine * start
    sine = torch.linalg.vector_norm(across)
    if float(sine) < 1e-12:
        return LowRankUnitary(start[:, None], torch.ones(1, 1, dtype=torch.complex128))
    core = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])]).to(torch.complex128)
    return LowRankUnitary(torch.stack([start, across / sine], dim=1), core)


def random_like(operator: LowRankUnitary, states: Tensor, seed: int) -> LowRankUnitary:
    """Return an operator that rotates by the same angles in the same span, about random directions.

    The mean of `states` (n, d) is moved as far as by the operator itself, to a random place. Without that the control
    would be too easy to beat: hidden states lie close to their mean, and a random frame hardly moves it.
    """
    mean = states.to(torch.complex128).mean(0) @ operator.basis.conj()
    first = torch.cat([mean[:, None], torch.eye(operator.rank, dtype=mean.dtype)[:, 1:]], dim=1)
    axes = torch.linalg.qr(first).Q
    frame = torch.eye(operator.rank, dtype=mean.dtype)
    frame[1:, 1:] = haar_unitary(operator.rank - 1, seed)
    frame = axes @ frame @ axes.mH
    return LowRankUnitary(operator.basis, frame @ operator.core @ frame.mH)
