"""Gradient training: no dead numbers, unitary all the way, and to be resumed exactly."""

from pathlib import Path

import pytest
import torch
from sentiment_steering.operators.cayley import CayleyCore, CayleyTraining
from sentiment_steering.operators.procrustes import solve
from sentiment_steering.operators.unitary import LowRankUnitary, span_basis

from mlflow_plugin.checkpoints.files import load_state, save_state
from mlflow_plugin.checkpoints.state import collect, restore


def make_training(seed: int = 0, mu: float = 0.05) -> CayleyTraining:
    generator = torch.Generator().manual_seed(1)
    common, direction = torch.randn(2, 30, dtype=torch.complex128, generator=generator)
    noise = torch.randn(2, 8, 30, dtype=torch.complex128, generator=generator) * 0.2
    sides = (common + sign * 0.3 * direction + part for sign, part in zip((1, -1), noise, strict=True))
    source, target = (torch.nn.functional.normalize(side, dim=1) for side in sides)
    return CayleyTraining(source, target, span_basis(source, target), mu, learning_rate=0.01, seed=seed)


def both(training: CayleyTraining) -> list[LowRankUnitary]:
    operators = training.operators()
    return [operators.to_negative, operators.to_positive]


def test_every_stored_number_has_an_effect() -> None:
    training = make_training()
    rank = training.basis.shape[1]
    training.step()
    gradient = training.forward_core.entries.grad
    assert gradient.shape == (rank * rank,)
    assert bool((gradient != 0).all())


def test_the_parameters_hold_a_hermitian_matrix() -> None:
    matrix = CayleyCore(5, seed=3).hermitian()
    assert torch.equal(matrix, matrix.mH)


def test_the_operators_stay_unitary_while_fidelity_rises() -> None:
    training = make_training()
    for _ in range(60):
        training.step()
    course = training.history.figures["train_fidelity_to_negative"]
    assert course[-1] > course[0] + 0.01
    assert all(operator.unitarity_error() < 1e-12 for operator in both(training))


def test_it_approaches_what_the_closed_form_finds() -> None:
    training = make_training()
    for _ in range(300):
        training.step()
    source, target = training.inner
    _, objective = solve(source, target, training.mu, steps=1000, tolerance=1e-12)
    core = training.operators().to_negative.core
    overlaps = (target.conj() * (source @ core.mT)).sum(1)
    reached = float(overlaps.abs().square().mean() + 2 * training.mu * core.diagonal().real.sum())
    assert reached == pytest.approx(objective[-1], abs=1e-4)


def test_a_training_resumed_from_a_checkpoint_ends_in_the_same_bits(tmp_path: Path) -> None:
    whole, interrupted, resumed = make_training(), make_training(), make_training(seed=9)
    for _ in range(12):
        whole.step()
    for _ in range(5):
        interrupted.step()
    save_state(collect(interrupted.state), tmp_path)
    restore(resumed.state, load_state(tmp_path))
    for _ in range(7):
        resumed.step()
    for ours, theirs in zip(both(resumed), both(whole), strict=True):
        assert torch.equal(ours.core, theirs.core)
    assert resumed.history.figures == whole.history.figures
