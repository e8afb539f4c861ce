"""Train operators by gradient steps, as the original experiment did, but in the span of the data.

The Cayley transform K = (I + iH)^-1 (I - iH) of a Hermitian H is unitary. H of size r is held as exactly r^2 real
numbers: its diagonal, and the real and imaginary parts above it. None is dead, and no constraint has to be kept up.
"""

import torch
from torch import Tensor, nn

from mlflow_plugin.machine.threads import threads_for
from sentiment_steering.operators.pair import OperatorPair
from sentiment_steering.operators.unitary import LowRankUnitary

START_ANGLE = 0.05
"""Size of the random start, about in radians. From different starts the operators need not be inverse to each other."""


class CayleyCore(nn.Module):
    """Hold a trainable unitary matrix (r, r) complex128, at first a small seeded rotation away from the identity."""

    def __init__(self, rank: int, seed: int) -> None:
        super().__init__()
        self.rank = rank
        start = torch.randn(rank * rank, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        self.entries = nn.Parameter(start * (START_ANGLE / rank**0.5))
        self.register_buffer("upper", torch.triu_indices(rank, rank, offset=1), persistent=False)

    def hermitian(self) -> Tensor:
        """Return H (r, r) complex128."""
        above = self.rank * (self.rank - 1) // 2
        diagonal, real, imaginary = self.entries.split([self.rank, above, above])
        matrix = torch.zeros(self.rank, self.rank, dtype=torch.complex128)
        rows, columns = self.upper
        matrix = matrix.index_put((rows, columns), torch.complex(real, imaginary))
        return matrix + matrix.mH + torch.diag(diagonal).to(torch.complex128)

    def forward(self) -> Tensor:
        """Return K (r, r) complex128."""
        turned = 1j * self.hermitian()
        identity = torch.eye(self.rank, dtype=torch.complex128)
        return torch.linalg.solve(identity + turned, identity - turned)


class CayleyTraining:
    """Train two operators together, one for each direction. A checkpoint holds `state`.

    The objective is that of the closed form: mean fidelity + 2 mu Re tr K. With mu = 0 it is the original's.
    """

    def __init__(
        self, source: Tensor, target: Tensor, basis: Tensor, mu: float, learning_rate: float, seed: int
    ) -> None:
        self.basis, self.mu = basis, mu
        self.inner = [side.to(basis.dtype) @ basis.conj() for side in (source, target)]
        rank = basis.shape[1]
        self.forward_core, self.reverse_core = CayleyCore(rank, 2 * seed), CayleyCore(rank, 2 * seed + 1)
        parameters = [*self.forward_core.parameters(), *self.reverse_core.parameters()]
        self.optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        self.history = History()

    @property
    def state(self) -> dict[str, object]:
        """The objects that a checkpoint saves and restores, by name."""
        return {
            "to_negative": self.forward_core,
            "to_positive": self.reverse_core,
            "optimizer": self.optimizer,
            "history": self.history,
        }

    def step(self) -> dict[str, float]:
        """Do one gradient step on all pairs; return loss and training fidelities as they were before it."""
        with threads_for(self.basis.shape[1]):
            return self._step()

    def _step(self) -> dict[str, float]:
        source, target = self.inner
        self.optimizer.zero_grad()
        losses, figures = [], {}
        for name, core, (start, end) in (
            ("to_negative", self.forward_core(), (source, target)),
            ("to_positive", self.reverse_core(), (target, source)),
        ):
            fidelity = (end.conj() * (start @ core.mT)).sum(1).abs().square().mean()
            losses.append(1 - fidelity - 2 * self.mu * (core.diagonal().real - 1).sum())
            figures[f"train_fidelity_{name}"] = fidelity.item()
        loss = torch.stack(losses).mean()
        loss.backward()
        self.optimizer.step()
        figures["loss"] = loss.item()
        self.history.append(figures)
        return figures

    @torch.no_grad()
    def operators(self) -> OperatorPair:
        """Return both operators as they are now."""
        return OperatorPair(*(LowRankUnitary(self.basis, core()) for core in (self.forward_core, self.reverse_core)))


class History:
    """Keep the figures of every step in checkpoints, so that a resumed run can plot the whole course."""

    def __init__(self) -> None:
        self.figures: dict[str, list[float]] = {}

    def append(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    def state_dict(self) -> dict[str, list[float]]:
        return {name: list(values) for name, values in self.figures.items()}

    def load_state_dict(self, state: dict[str, list[float]]) -> None:
        self.figures = {name: [float(value) for value in values] for name, values in state.items()}
