"""Train both operators, and measure them on held-out pairs beside their controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from projects_common.controls import Claim
from projects_common.loops import Loop
from projects_common.statistics import bootstrap
from torch import Tensor

from sentiment_steering.operators.cayley import CayleyTraining
from sentiment_steering.operators.evaluation import operator_fidelities
from sentiment_steering.operators.pair import DIRECTIONS, OperatorPair
from sentiment_steering.operators.procrustes import best_mu, cross_validate, fit_procrustes
from sentiment_steering.operators.unitary import span_basis
from sentiment_steering.settings import TrainSettings
from sentiment_steering.states.encoded import EncodedStates, load_states

Fidelities = Mapping[str, Mapping[str, Tensor]]
"""By direction and control, the fidelity of each pair."""


@dataclass(frozen=True)
class Fit:
    """Hold both operators, their mu, its cross-validation (empty when mu was given), and the course by name."""

    operators: OperatorPair
    mu: float
    validation: Mapping[float, float]
    course: Mapping[str, list[float]]


@dataclass(frozen=True)
class Trained(Fit):
    """Hold the result of phase 2: the fit, its method, the fidelities of each pair, the claims and the metrics."""

    method: str
    fidelities: Fidelities
    claims: tuple[Claim, ...]
    figures: Mapping[str, float]


def train(states: Path, settings: TrainSettings, loop: Loop) -> Trained:
    """Fit both operators to the states of a folder and measure them.

    Raises:
        PhaseError: the folder holds no states.
    """
    encoded = load_states(states)
    fit = fit_operators(encoded, settings, loop)
    fidelities = {
        direction: operator_fidelities(
            fit.operators[direction],
            encoded.pairs("train", direction),
            encoded.pairs("held_out", direction),
            settings.seed,
        )
        for direction in DIRECTIONS
    }
    claims = judge(fidelities, settings.seed)
    figures = operator_figures(fit, fidelities, claims)
    return Trained(fit.operators, fit.mu, fit.validation, fit.course, settings.method, fidelities, claims, figures)


def fit_operators(encoded: EncodedStates, settings: TrainSettings, loop: Loop) -> Fit:
    """Fit both operators to the training pairs by the method of the settings."""
    start, target = encoded.pairs("train")
    basis = span_basis(start, target)
    mu, validation = choose_mu(start, target, basis, settings, loop)
    if settings.method == "procrustes":
        fits = [
            fit_procrustes(*encoded.pairs("train", direction), mu=mu, basis=basis)
            for direction in loop.progress(DIRECTIONS, total=2, description="fitting")
        ]
        course = {f"objective_{direction}": fit.objective for direction, fit in zip(DIRECTIONS, fits, strict=True)}
        return Fit(OperatorPair(fits[0].operator, fits[1].operator), mu, validation, course)
    training = CayleyTraining(start, target, basis, mu, settings.learning_rate, settings.seed)
    for epoch in loop.steps(settings.epochs, state=training.state, description="cayley"):
        loop.log(step=epoch, **training.step())
    return Fit(training.operators(), mu, validation, training.history.figures)


def choose_mu(
    start: Tensor, target: Tensor, basis: Tensor, settings: TrainSettings, loop: Loop
) -> tuple[float, dict[float, float]]:
    """Return the given mu, or the best of a cross-validation on training pairs and the fidelity of each mu tried."""
    if settings.mu != "auto":
        return settings.mu, {}
    inner = [side.to(basis.dtype) @ basis.conj() for side in (start, target)]
    validation = cross_validate(*inner, folds=settings.folds, seed=settings.seed, progress=loop.progress)
    return best_mu(validation), validation


def judge(fidelities: Fidelities, seed: int) -> tuple[Claim, ...]:
    """Judge the operators against doing nothing and against the centroid rotation, on held-out pairs."""

    def difference(control: str) -> Tensor:
        # Per pair, mean over both directions: the two fidelities of a pair are not independent.
        return torch.stack([measured["held_out"] - measured[control] for measured in fidelities.values()]).mean(0)

    return tuple(
        Claim(
            "the operators carry held-out states nearer to their partners",
            name,
            bootstrap(difference(key).numpy(), seed),
        )
        for key, name in (("identity", "doing nothing"), ("centroid", "the centroid rotation"))
    )


def operator_figures(fit: Fit, fidelities: Fidelities, claims: tuple[Claim, ...]) -> dict[str, float]:
    """Return the metrics of phase 2.

    Figures without a direction are means over both. `final_fidelity` is the held-out fidelity: the one to judge by.
    """
    figures: dict[str, float] = {}
    for name in fidelities["to_negative"]:
        means = {direction: float(fidelities[direction][name].mean()) for direction in DIRECTIONS}
        figures |= {f"{name}_fidelity_{direction}": mean for direction, mean in means.items()}
        figures[f"{name}_fidelity"] = sum(means.values()) / len(means)
    operator = fit.operators.to_negative
    identity, centroid = (claim.difference for claim in claims)
    return figures | {
        "final_fidelity": figures["held_out_fidelity"],
        "lift_over_identity": figures["held_out_fidelity"] - figures["identity_fidelity"],
        "lift_over_identity_low": identity.low,
        "lift_over_identity_high": identity.high,
        "lift_over_centroid": figures["held_out_fidelity"] - figures["centroid_fidelity"],
        "lift_over_centroid_low": centroid.low,
        "lift_over_centroid_high": centroid.high,
        "unitarity_error": max(fit.operators[direction].unitarity_error() for direction in DIRECTIONS),
        "largest_angle": float(operator.angles()[-1]),
        "rank": float(operator.rank),
        "stored_numbers": float(2 * (operator.basis.numel() + 2 * operator.core.numel())),
        "mu": fit.mu,
    }
