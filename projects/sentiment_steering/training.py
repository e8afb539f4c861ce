"""What phase 2 does with the modules below it: train both operators, and measure them beside their controls."""

import argparse
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering.cayley import CayleyTraining
from projects.sentiment_steering.evaluation import bootstrap, operator_fidelities
from projects.sentiment_steering.operators import LowRankUnitary, span_basis
from projects.sentiment_steering.procrustes import best_mu, cross_validate, fit_procrustes
from projects.sentiment_steering.storage import EncodedStates

DIRECTIONS = ("to_negative", "to_positive")


@dataclass(frozen=True)
class Trained:
    """Both operators on one basis, their mu, its cross-validation (empty when mu was given), and the course by name."""

    to_negative: LowRankUnitary
    to_positive: LowRankUnitary
    mu: float
    validation: dict[float, float]
    course: dict[str, list[float]]

    def operator(self, direction: str) -> LowRankUnitary:
        return self.to_negative if direction == "to_negative" else self.to_positive


def train(encoded: EncodedStates, arguments: argparse.Namespace, phase: Any) -> Trained:
    """Both operators by the chosen method. Raises PhaseError for a mu that is no number above 0 (Cayley: below 0)."""
    source, target = encoded.pairs("train")
    basis = span_basis(source, target)
    mu, validation = settle_mu(source, target, basis, arguments, phase)
    if arguments.method == "procrustes":
        fits = [
            fit_procrustes(*encoded.pairs("train", direction), mu=mu, basis=basis)
            for direction in phase.progress(DIRECTIONS, total=2, description="fitting")
        ]
        course = {f"objective_{direction}": fit.objective for direction, fit in zip(DIRECTIONS, fits, strict=True)}
        return Trained(fits[0].operator, fits[1].operator, mu, validation, course)
    training = CayleyTraining(source, target, basis, mu, arguments.learning_rate, arguments.seed)
    for epoch in phase.steps(arguments.epochs, state=training.state, description="cayley"):
        phase.log(step=epoch, **training.step())
    return Trained(*training.operators(), mu, validation, training.history.figures)


def settle_mu(
    source: Tensor, target: Tensor, basis: Tensor, arguments: argparse.Namespace, phase: Any
) -> tuple[float, dict[float, float]]:
    """The mu that was given, or the best of the cross-validation on training pairs and all that it found."""
    if arguments.mu != "auto":
        return given_mu(arguments.mu, arguments.method), {}

    def shown(folds: Sequence[int]) -> Iterable[int]:
        return phase.progress(folds, total=len(folds), description="cross-validating mu")

    inner = [side.to(basis.dtype) @ basis.conj() for side in (source, target)]
    validation = cross_validate(*inner, folds=max(2, arguments.folds), seed=arguments.seed, progress=shown)
    return best_mu(validation), validation


def given_mu(text: str, method: str) -> float:
    """The number that `mu` states. Raises PhaseError when the method cannot use it."""
    try:
        mu = float(text)
    except ValueError:
        mu = math.nan
    usable = mu >= 0 if method == "cayley" else mu > 0
    if not (usable and math.isfinite(mu)):
        limit = "0 or more" if method == "cayley" else "above 0"
        raise PhaseError(f"mu={text!r}: {method} takes `auto` or a number {limit}.")
    return mu


def operator_figures(
    trained: Trained, encoded: EncodedStates, seed: int
) -> tuple[dict[str, float], dict[str, dict[str, Tensor]]]:
    """Metrics of phase 2, and the fidelities per pair of each direction behind them.

    Figures without a direction are means over both. `final_fidelity` is the held-out fidelity: the one to judge by.
    """
    fidelities = {
        direction: operator_fidelities(
            trained.operator(direction), encoded.pairs("train", direction), encoded.pairs("held_out", direction), seed
        )
        for direction in DIRECTIONS
    }
    figures: dict[str, float] = {}
    for name in fidelities["to_negative"]:
        means = {direction: float(fidelities[direction][name].mean()) for direction in DIRECTIONS}
        figures |= {f"{name}_fidelity_{direction}": mean for direction, mean in means.items()}
        figures[f"{name}_fidelity"] = sum(means.values()) / len(means)
    # Per pair, mean over both directions: the two fidelities of a pair are not independent.
    gained = torch.stack([found["held_out"] - found["identity"] for found in fidelities.values()]).mean(0)
    lift = bootstrap(gained.numpy(), seed)
    return figures | {
        "final_fidelity": figures["held_out_fidelity"],
        "lift_over_identity": figures["held_out_fidelity"] - figures["identity_fidelity"],
        "lift_over_centroid": figures["held_out_fidelity"] - figures["centroid_fidelity"],
        "lift_over_identity_low": lift.low,
        "lift_over_identity_high": lift.high,
        "unitarity_error": max(trained.operator(direction).unitarity_error() for direction in DIRECTIONS),
        "largest_angle": float(trained.to_negative.angles()[-1]),
        "rank": float(trained.to_negative.rank),
        "stored_numbers": float(2 * (trained.to_negative.basis.numel() + 2 * trained.to_negative.core.numel())),
        "mu": trained.mu,
    }, fidelities
