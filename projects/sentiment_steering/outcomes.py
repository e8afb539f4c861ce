"""What came out under each condition, and what the conditions show side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering.conditions import FAMILIES, Condition
from projects.sentiment_steering.evaluation import Interval, bootstrap


@dataclass(frozen=True)
class Outcome:
    """What was written under one condition, its scores per opening, and what the hook did."""

    condition: Condition
    texts: list[str]
    scores: dict[str, list[float]]
    perplexity: list[float]
    activation_change: float
    changed_share: float
    norm_error: float

    def document(self) -> dict[str, Any]:
        """The outcome for results.json."""
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
    """An intervention that changes nothing is no null result.

    Raises PhaseError when one that should change states did not, or when one of strength 0 did.
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
    """score(to_positive) - score(to_negative) per opening: above 0 when steering does what it is meant to."""
    found = {each.condition.direction: np.array(each.scores[score]) for each in members(outcomes, family, strength)}
    return found["to_positive"] - found["to_negative"]


def advantage(outcomes: Sequence[Outcome], control: str, strength: float, score: str, seed: int) -> Interval:
    """How much further apart the operator moves the texts of an opening than a control does at the same strength."""
    ours, theirs = (separation(outcomes, family, strength, score) for family in ("operator", control))
    return bootstrap(ours - theirs, seed)


def separations(outcomes: Sequence[Outcome], seed: int) -> dict[tuple[str, str, float], Interval]:
    """The mean separation for every score, family and strength above 0, in that order."""
    strengths = sorted({outcome.condition.strength for outcome in outcomes if outcome.condition.family == "operator"})
    return {
        (score, family, strength): bootstrap(separation(outcomes, family, strength, score), seed)
        for score in outcomes[0].scores
        for family in FAMILIES
        for strength in strengths
        if strength > 0
    }


def members(outcomes: Sequence[Outcome], family: str, strength: float) -> list[Outcome]:
    """The outcomes of a family at a strength, one for each direction."""
    return [each for each in outcomes if (each.condition.family, each.condition.strength) == (family, strength)]


def perplexity_ratio(outcomes: Sequence[Outcome], family: str, strength: float) -> float:
    """Geometric mean over openings and directions of perplexity over that of unsteered text: 1 is as fluent."""
    plain = np.log(outcomes[0].perplexity)
    return float(np.exp(np.mean([np.log(each.perplexity) - plain for each in members(outcomes, family, strength)])))


def activation_change(outcomes: Sequence[Outcome], family: str, strength: float) -> float:
    """Mean over both directions of how far hidden states moved, relative to their length."""
    return float(np.mean([each.activation_change for each in members(outcomes, family, strength)]))


def steering_figures(outcomes: Sequence[Outcome], seed: int) -> dict[str, float]:
    """Metrics of phase 3. The headline figures are those of the largest strength, whatever they came out as."""
    found = separations(outcomes, seed)
    largest = max(strength for _, _, strength in found)
    steered = [outcome for outcome in outcomes if outcome.condition.family == "operator"]
    figures = {
        f"{score}_separation/{family}_x{strength:g}": each.mean for (score, family, strength), each in found.items()
    }
    for score in outcomes[0].scores:
        each = found[score, "operator", largest]
        figures |= {f"{score}_separation": each.mean, f"{score}_separation_low": each.low}
        figures[f"{score}_separation_high"] = each.high
        for control in ("random_unitary", "difference_of_means"):
            over = advantage(outcomes, control, largest, score, seed)
            name = f"{score}_advantage_over_{control}"
            figures |= {name: over.mean, f"{name}_low": over.low, f"{name}_high": over.high}
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
