"""The closed-form fit: its objective never falls, it finds a planted operator and none in noise."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentiment_steering.operators.procrustes import best_mu, cross_validate, fit_procrustes, mu_grid, solve
from sentiment_steering.operators.unitary import LowRankUnitary, centroid_rotation, fidelity, haar_unitary, span_basis
from torch import Tensor


def alike_states(pairs: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pairs with a large common part, a class direction and noise, as hidden states are."""
    generator = torch.Generator().manual_seed(seed)
    common, direction = torch.randn(2, dimension, dtype=torch.complex128, generator=generator)
    noise = torch.randn(2, pairs, dimension, dtype=torch.complex128, generator=generator) * 0.2
    sides = (common + sign * 0.3 * direction + part for sign, part in zip((1, -1), noise, strict=True))
    source, target = (torch.nn.functional.normalize(side, dim=1) for side in sides)
    return source, target


def test_every_step_raises_the_objective_or_stops() -> None:
    @given(st.integers(0, 10_000), st.floats(1e-3, 3))
    @settings(max_examples=30, deadline=None)
    def never_falls(seed: int, mu: float) -> None:
        source, target = alike_states(8, 12, seed)
        core, objective = solve(source, target, mu)
        assert all(later >= earlier - 1e-12 for earlier, later in pairwise(objective))
        torch.testing.assert_close(core.mH @ core, torch.eye(12, dtype=torch.complex128), rtol=0, atol=1e-12)

    never_falls()


def test_no_unitary_nearby_does_better_than_the_fitted_one() -> None:
    source, target = alike_states(10, 8, seed=1)
    core, objective = solve(source, target, mu=0.2, tolerance=1e-14, steps=1000)
    for seed in range(20):
        turn = LowRankUnitary(torch.eye(8, dtype=torch.complex128), haar_unitary(8, seed)).power(0.01).core
        other = core @ turn
        overlaps = (target.conj() * (source @ other.mT)).sum(1)
        value = float(overlaps.abs().square().mean() + 0.4 * other.diagonal().real.sum())
        assert value <= objective[-1] + 1e-12


def test_a_planted_unitary_is_found_on_held_out_pairs() -> None:
    source, _ = alike_states(60, 10, seed=2)
    hidden = LowRankUnitary(torch.eye(10, dtype=torch.complex128), haar_unitary(10, 1)).power(0.3)
    target = hidden.apply(source)
    fit = fit_procrustes(source[:40], target[:40])
    assert float(fidelity(fit.operator, source[40:], target[40:]).mean()) > 0.99
    assert float(fidelity(None, source[40:], target[40:]).mean()) < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_held_out_fidelity_is_no_lower_than_that_of_the_controls(seed: int) -> None:
    source, target = alike_states(120, 60, seed)
    fit = fit_procrustes(source[:60], target[:60])
    held_out = source[60:], target[60:]
    fitted, nothing, centroid = (
        float(fidelity(operator, *held_out).mean())
        for operator in (fit.operator, None, centroid_rotation(source[:60], target[:60]))
    )
    assert fitted > nothing
    assert fitted > centroid - 2e-3


def test_the_fit_of_the_other_direction_is_the_adjoint() -> None:
    source, target = alike_states(10, 30, seed=3)
    there = fit_procrustes(source, target)
    back = fit_procrustes(target, source, basis=there.operator.basis)
    assert back.mu == there.mu
    torch.testing.assert_close(back.operator.core, there.operator.core.mH, rtol=0, atol=1e-9)


def test_a_strong_pull_gives_all_but_the_identity() -> None:
    source, target = alike_states(6, 20, seed=4)
    assert fit_procrustes(source, target, mu=1e6).operator.distance_from_identity() < 1e-5


def test_the_weakest_pull_that_is_tried_is_that_of_one_pair() -> None:
    grid = mu_grid(50)
    assert len(grid) == 10
    assert grid == sorted(grid)
    assert (grid[0], grid[-1]) == (pytest.approx(1 / 50), pytest.approx(10))


def test_among_equally_good_pulls_the_strongest_is_taken() -> None:
    assert best_mu({0.1: 0.9, 1.0: 0.9, 10.0: 0.8}) == 1.0


def test_cross_validation_judges_every_pair_once_by_a_fit_without_it() -> None:
    # One pair is unlike the others: a fit that had seen it would carry it over, one that has not cannot.
    source, target = alike_states(5, 12, seed=5)
    validation = cross_validate(source, target, folds=5, seed=0)
    fitted, _ = solve(source, target, mu_grid(5)[0])
    seen = fidelity(LowRankUnitary(torch.eye(12, dtype=torch.complex128), fitted), source, target).mean()
    assert validation[mu_grid(5)[0]] < float(seen) - 0.01


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    source, target = alike_states(30, 200, seed=6)
    alone = fit_procrustes(source, target)
    torch.set_num_threads(2)
    try:
        together = fit_procrustes(source, target)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert together.mu == alone.mu
    torch.testing.assert_close(together.operator.core, alone.operator.core, rtol=0, atol=1e-10)


def test_the_basis_spans_the_data_and_has_no_more_columns_than_dimensions() -> None:
    source, target = alike_states(30, 20, seed=7)
    basis = span_basis(source, target)
    assert basis.shape == (20, 20)
    torch.testing.assert_close(source @ basis.conj() @ basis.mT, source)


@pytest.mark.parametrize("mu", [0.0, -1.0, float("nan")])
def test_a_mu_that_leaves_the_polar_factor_open_is_refused(mu: float) -> None:
    with pytest.raises(ValueError, match="mu must be above 0"):
        solve(*alike_states(4, 6, 0), mu)


def test_sides_that_do_not_pair_up_are_refused() -> None:
    source, target = alike_states(4, 6, 0)
    with pytest.raises(ValueError, match="two or more pairs"):
        fit_procrustes(source, target[:3])
