"""Compare the conditions: separations with intervals, claims against controls, and the metrics of phase 3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from projects_common.controls import Claim
from projects_common.statistics import Interval, bootstrap

from mlflow_plugin.errors import PhaseError
from sentiment_steering.intervention.conditions import FAMILIES, Condition

Separations = Mapping[tuple[str, str, float], Interval]
"""By score, family and strength, the mean separation over openings."""
CONTROLS = ("random_unitary", "difference_of_means")


@dataclass(frozen=True)
class Outcome:
    """Hold the texts of one condition, their scores for each opening, and the change that the hook made."""

    condition: Condition
    texts: list[str]
    scores: dict[str, list[float]]
    perplexity: list[float]
    activation_change: float
    changed_share: float
    norm_error: float

    def document(self) -> dict[str, Any]:
        """Return the outcome as an entry of results.json."""
        return {
            "condition": self.condition.name,
            "family": self.condition.family,
            "direction": self.condition.direction,
            "strength": self.condition.strength,
            "scores": self.scores,
            "perplexity": self.perplexity,
            "activation_change": self.activation_change,
            "changed_share": self.changed_share,
            "norm_error": self.norm_error,
        }


def check_activations(outcomes: Sequence[Outcome]) -> None:
    """Refuse to conclude anything from an intervention that changed nothing.

    Raises:
        PhaseError: an intervention that should change states did not, or one of strength 0 did.
    """
    plain = outcomes[0]
    for outcome in outcomes:
        condition = outcome.condition
        if condition.family == "operator" and condition.strength == 0:
            if outcome.changed_share > 0 or outcome.texts != plain.texts:
                raise PhaseError(f"{condition.name} changed the model although its strength is 0: the hook is wrong.")
        elif condition.family in FAMILIES and outcome.activation_change < 1e-6:
            raise PhaseError(
                f"{condition.name} changed no hidden state, so nothing can be concluded from it. "
                "The operator is the identity: train phase 2 with a smaller mu, or choose another layer in phase 1."
            )


def separation(outcomes: Sequence[Outcome], family: str, strength: float, score: str) -> np.ndarray:
    """Return score(to_positive) - score(to_negative) of each opening: above 0 when the text moves as intended."""
    scores = {each.condition.direction: np.array(each.scores[score]) for each in members(outcomes, family, strength)}
    return scores["to_positive"] - scores["to_negative"]


def advantage(outcomes: Sequence[Outcome], control: str, strength: float, score: str, seed: int) -> Interval:
    """Return how much further the operator separates the texts of an opening than a control of the same strength."""
    ours, theirs = (separation(outcomes, family, strength, score) for family in ("operator", control))
    return bootstrap(ours - theirs, seed)


def separations(outcomes: Sequence[Outcome], seed: int) -> Separations:
    """Return the mean separation for every score, family and strength above 0, in that order."""
    strengths = sorted({outcome.condition.strength for outcome in outcomes if outcome.condition.family == "operator"})
    return {
        (score, family, strength): bootstrap(separation(outcomes, family, strength, score), seed)
        for score in outcomes[0].scores
        for family in FAMILIES
        for strength in strengths
        if strength > 0
    }


def members(outcomes: Sequence[Outcome], family: str, strength: float) -> list[Outcome]:
    """Return the outcomes of a family at a strength, one for each direction."""
    return [each for each in outcomes if (each.condition.family, each.condition.strength) == (family, strength)]


def perplexity_ratio(outcomes: Sequence[Outcome], family: str, strength: float) -> float:
    """Return the geometric mean over openings and directions of perplexity over that of unsteered text."""
    plain = np.log(outcomes[0].perplexity)
    return float(np.exp(np.mean([np.log(each.perplexity) - plain for each in members(outcomes, family, strength)])))


def activation_change(outcomes: Sequence[Outcome], family: str, strength: float) -> float:
    """Return how far hidden states moved, relative to their length, as the mean over both directions."""
    return float(np.mean([each.activation_change for each in members(outcomes, family, strength)]))


def largest_strength(intervals: Separations) -> float:
    """Return the largest strength, at which claims are judged."""
    return max(strength for _, _, strength in intervals)


def judge(outcomes: Sequence[Outcome], intervals: Separations, seed: int) -> list[Claim]:
    """Judge the operator at the largest strength: against no effect, and against each control."""
    strength = largest_strength(intervals)
    claims = []
    for score in outcomes[0].scores:
        claims.append(
            Claim(f"{score}: the text moves as intended", "no effect", intervals[score, "operator", strength])
        )
        claims += [
            Claim(
                f"{score}: it moves further than under the control",
                control.replace("_", " "),
                advantage(outcomes, control, strength, score, seed),
            )
            for control in CONTROLS
        ]
    return claims


def steering_figures(outcomes: Sequence[Outcome], intervals: Separations, seed: int) -> dict[str, float]:
    """Return the metrics of phase 3. The headline figures are those of the largest strength."""
    largest = largest_strength(intervals)
    steered = [outcome for outcome in outcomes if outcome.condition.family == "operator"]
    figures = {
        f"{score}_separation/{family}_x{strength:g}": each.point
        for (score, family, strength), each in intervals.items()
    }
    for score in outcomes[0].scores:
        figures |= _with_limits(f"{score}_separation", intervals[score, "operator", largest])
        for control in CONTROLS:
            over = advantage(outcomes, control, largest, score, seed)
            figures |= _with_limits(f"{score}_advantage_over_{control}", over)
    return figures | {
        "activation_change": min(each.activation_change for each in members(outcomes, "operator", largest)),
        "activations_changed_at_zero": max(
            outcome.changed_share for outcome in steered if outcome.condition.strength == 0
        ),
        "identity_round_trip_error": outcomes[1].activation_change,
        "norm_error": max(outcome.norm_error for outcome in outcomes),
        "perplexity": float(np.exp(np.mean(np.log(outcomes[0].perplexity)))),
        "perplexity_ratio": perplexity_ratio(outcomes, "operator", largest),
    }


def _with_limits(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.point, f"{name}_low": interval.low, f"{name}_high": interval.high}
