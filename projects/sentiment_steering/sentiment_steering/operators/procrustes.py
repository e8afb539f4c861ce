"""Find the best unitary operator by closed-form steps; cross-validation chooses its pull towards the identity.

Maximised over unitary U:  (1/N) sum_i |target_i^H U source_i|^2 + 2 mu Re tr U.
The first term is convex in U, so its tangent plane is a lower bound that touches at the present U; the unitary that
maximises the bound is a polar factor (orthogonal Procrustes, Schoenemann 1966), and no step can lower the objective:

    c_i = target_i^H U_k source_i,   U_{k+1} = polar((1/N) sum_i c_i target_i source_i^H + mu I),   U_0 = I.

Directions that no training state has keep the identity, so all of it happens in the coordinates of the span, in
O(d N^2 + N^3). Source and target exchanged give the same objective for U^H: the operator of the other direction is the
adjoint, with the same mu.
"""

from dataclasses import dataclass

import torch
from projects_common.loops import Progress, unshown
from torch import Tensor

from mlflow_plugin.machine.threads import threads_for
from sentiment_steering.operators.unitary import LowRankUnitary, fidelity, polar_factor, span_basis

GRID_SIZE = 10

VALIDATION_TOLERANCE = 1e-5
"""Gain of fidelity at which a fit stops that only serves to choose mu."""


@dataclass(frozen=True)
class ProcrustesFit:
    """Hold the operator, its mu, the cross-validated fidelity of each mu tried, and the objective after each step."""

    operator: LowRankUnitary
    mu: float
    validation: dict[float, float]
    objective: list[float]


def fit_procrustes(
    source: Tensor,
    target: Tensor,
    mu: float | None = None,
    folds: int = 5,
    seed: int = 0,
    basis: Tensor | None = None,
    progress: Progress = unshown,
) -> ProcrustesFit:
    """Fit the operator that carries `source` to `target`, pair by pair.

    Args:
        source: Unit vectors (N, d) complex.
        target: Unit vectors of the same shape.
        mu: Pull towards the identity. None chooses it by cross-validation over `mu_grid`.
        folds: Of the cross-validation.
        seed: Shuffles the folds.
        basis: Basis (d, r) of the span, which spares working it out again for a second operator.
        progress: Shows how far the cross-validation is.

    Raises:
        ValueError: there are fewer than two pairs, the shapes differ, or mu is not above 0.
    """
    if source.shape != target.shape or len(source) < 2:
        shapes = f"{tuple(source.shape)} and {tuple(target.shape)}"
        raise ValueError(f"two or more pairs of equal shape are needed, not {shapes}")
    basis = span_basis(source, target) if basis is None else basis
    inner_source, inner_target = (side.to(basis.dtype) @ basis.conj() for side in (source, target))
    validation: dict[float, float] = {}
    if mu is None:
        validation = cross_validate(inner_source, inner_target, folds, seed, progress)
        mu = best_mu(validation)
    with threads_for(basis.shape[1]):
        core, objective = solve(inner_source, inner_target, mu)
    return ProcrustesFit(LowRankUnitary(basis, core), mu, validation, objective)


def mu_grid(pairs: int) -> list[float]:
    """Return GRID_SIZE strengths of the pull, from 1/N to 10 in equal ratios.

    All pairs together pull with 1, so at 10 the operator is all but the identity. One pair pulls with 1/N: below that a
    single pair can turn a direction of little weight by any angle, which gains next to no fidelity and moves every
    state.
    """
    ratio = 10.0 * pairs
    return [ratio ** (step / (GRID_SIZE - 1)) / pairs for step in range(GRID_SIZE)]


def cross_validate(
    source: Tensor,
    target: Tensor,
    folds: int,
    seed: int,
    progress: Progress = unshown,
) -> dict[float, float]:
    """Return the fidelity on left-out pairs of each mu of the grid; both sides (N, r) in span coordinates."""
    pairs = len(source)
    order = torch.randperm(pairs, generator=torch.Generator().manual_seed(seed))
    parts = order.chunk(min(folds, pairs))
    totals = dict.fromkeys(mu_grid(pairs), 0.0)
    unit = torch.eye(source.shape[1], dtype=source.dtype)
    for fold in progress(range(len(parts)), total=len(parts), description="cross-validating mu"):
        left_out = parts[fold]
        kept = torch.cat([part for other, part in enumerate(parts) if other != fold])
        with threads_for(len(unit)):
            for mu in totals:
                core, _ = solve(source[kept], target[kept], mu, tolerance=VALIDATION_TOLERANCE)
                totals[mu] += float(fidelity(LowRankUnitary(unit, core), source[left_out], target[left_out]).sum())
    return {mu: total / pairs for mu, total in totals.items()}


def best_mu(validation: dict[float, float]) -> float:
    """Return the mu of the highest fidelity; among equals the largest, since its operator turns least.

    >>> best_mu({0.1: 0.9, 1.0: 0.9, 10.0: 0.8})
    1.0
    """
    return max(validation, key=lambda mu: (validation[mu], mu))


def solve(
    source: Tensor, target: Tensor, mu: float, steps: int = 100, tolerance: float = 1e-7
) -> tuple[Tensor, list[float]]:
    """Return the core K (r, r) for pairs in span coordinates (N, r), and the objective after each step.

    The objective never falls. The iteration stops when a step gains less than `tolerance`.

    Raises:
        ValueError: mu is not above 0, so that the polar factor would not be unique.
    """
    if not mu > 0:
        raise ValueError(f"mu must be above 0, not {mu}")
    pairs, rank = source.shape
    identity = torch.eye(rank, dtype=source.dtype)
    core, objective = identity, []
    for _ in range(steps + 1):
        overlaps = (target.conj() * (source @ core.mT)).sum(1)
        objective.append(float(overlaps.abs().square().mean() + 2 * mu * core.diagonal().real.sum()))
        if len(objective) > 1 and objective[-1] - objective[-2] < tolerance:
            break
        core = polar_factor((target * overlaps[:, None]).mT @ source.conj() / pairs + mu * identity)
    return core, objective
