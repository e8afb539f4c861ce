"""Operators: exactly unitary, exactly the identity off the data."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentiment_steering.operators.unitary import (
    LowRankUnitary,
    centroid_rotation,
    fidelity,
    haar_unitary,
    random_like,
    span_basis,
)
from torch import Tensor

DIMENSION = 40
seeds = st.integers(0, 10_000)


def unit_states(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(count, DIMENSION, dtype=torch.complex128, generator=generator), dim=1
    )


def some_operator(seed: int, pairs: int = 4) -> LowRankUnitary:
    basis = span_basis(unit_states(pairs, seed), unit_states(pairs, seed + 1))
    return LowRankUnitary(basis, haar_unitary(basis.shape[1], seed))


@given(seeds, st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_lengths_and_angles_are_kept(seed: int, pairs: int) -> None:
    operator = some_operator(seed, pairs)
    states = unit_states(6, seed + 2)
    moved = operator.apply(states)
    torch.testing.assert_close(moved @ moved.mH, states @ states.mH, rtol=0, atol=1e-12)
    assert operator.unitarity_error() < 1e-12


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_states_off_the_data_are_left_alone(seed: int) -> None:
    operator = some_operator(seed)
    state = unit_states(1, seed + 2)
    outside = state - (state @ operator.basis.conj()) @ operator.basis.mT
    torch.testing.assert_close(operator.apply(outside), outside, rtol=0, atol=1e-14)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_adjoint_undoes_the_operator(seed: int) -> None:
    operator, states = some_operator(seed), unit_states(3, seed + 2)
    torch.testing.assert_close(operator.adjoint().apply(operator.apply(states)), states, rtol=0, atol=1e-12)


@given(seeds, st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_powers_add_up_while_no_angle_passes_half_a_turn(seed: int, first: float, second: float) -> None:
    small = some_operator(seed).power(0.1)  # angles up to pi / 10, so that powers up to 6 stay below pi
    product = small.power(first) @ small.power(second)
    torch.testing.assert_close(product.core, small.power(first + second).core, rtol=0, atol=1e-10)


def test_power_one_is_the_operator_and_power_zero_is_the_identity_to_the_last_bit() -> None:
    operator = some_operator(7)
    torch.testing.assert_close(operator.power(1).core, operator.core, rtol=0, atol=1e-12)
    assert torch.equal(operator.power(0).core, torch.eye(operator.rank, dtype=torch.complex128))


def test_the_dense_matrix_says_the_same_as_the_factors() -> None:
    operator, states = some_operator(3), unit_states(2, 9)
    shift = operator.core - torch.eye(operator.rank)
    dense = torch.eye(DIMENSION, dtype=torch.complex128) + operator.basis @ shift @ operator.basis.mH
    torch.testing.assert_close(operator.apply(states), states @ dense.mT)
    product = dense @ dense
    torch.testing.assert_close((operator @ operator).apply(states), states @ product.mT)


def test_operators_on_different_bases_are_not_multiplied() -> None:
    with pytest.raises(ValueError, match="different bases"):
        some_operator(1) @ some_operator(2)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_centroid_rotation_carries_one_mean_to_the_other_up_to_phase(seed: int) -> None:
    source, target = unit_states(5, seed), unit_states(5, seed + 1)
    rotation = centroid_rotation(source, target)
    start, end = (torch.nn.functional.normalize(side.mean(0, keepdim=True), dim=1) for side in (source, target))
    assert rotation.unitarity_error() < 1e-12
    assert float(fidelity(rotation, start, end)) == pytest.approx(1, abs=1e-9)


def test_the_centroid_rotation_of_equal_means_is_the_identity() -> None:
    states = unit_states(5, 1)
    torch.testing.assert_close(centroid_rotation(states, states).apply(states), states, rtol=0, atol=1e-6)


def test_a_random_operator_like_another_turns_by_the_same_angles_and_moves_the_mean_as_far() -> None:
    operator, states = some_operator(5), unit_states(4, 5)
    scrambled = random_like(operator, states, seed=1)
    torch.testing.assert_close(scrambled.angles(), operator.angles(), rtol=0, atol=1e-9)
    mean = states.mean(0, keepdim=True)
    ours, theirs = (torch.linalg.vector_norm(each.apply(mean) - mean) for each in (scrambled, operator))
    torch.testing.assert_close(ours, theirs)
    assert float(torch.linalg.vector_norm(scrambled.apply(mean) - operator.apply(mean))) > 0.1 * float(theirs)
    assert scrambled.unitarity_error() < 1e-12


def test_fidelity_without_an_operator_is_the_squared_overlap_and_ignores_phase() -> None:
    states = unit_states(3, 1)
    torch.testing.assert_close(fidelity(None, states, states * 1j), torch.ones(3, dtype=torch.float64))
