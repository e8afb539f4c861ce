"""Conclusions: no null result from a hook that did nothing, no effect where the interval holds 0."""

import pytest
from sentiment_steering.intervention.conditions import FAMILIES, Condition
from sentiment_steering.intervention.experiment import Experiment
from sentiment_steering.intervention.outcomes import Outcome, check_activations, separations
from sentiment_steering.operators.pair import DIRECTIONS
from sentiment_steering.report.intervention import describe

from mlflow_plugin.errors import PhaseError

OPENINGS = [f"opening {number}" for number in range(8)]


def outcome(family: str, direction: str, strength: float, shift: float, moved: float) -> Outcome:
    scores = [shift + 0.01 * number for number in range(8)]
    return Outcome(
        condition=Condition(family, direction, strength, None),
        texts=["text"] * 8,
        scores={"log_odds": scores, "vader": [0.0] * 8},
        perplexity=[10.0] * 8,
        activation_change=moved,
        changed_share=float(moved > 0),
        norm_error=0.0,
    )


def outcomes(effect: float = 1.0, moved: float = 0.1) -> list[Outcome]:
    found = [outcome("none", "", 0, 0, 0), outcome("identity", "", 1, 0, 1e-7)]
    for sign, direction in zip((-1, 1), DIRECTIONS, strict=True):
        found.append(outcome("operator", direction, 0, 0, 0))
        for family in FAMILIES:
            found.append(outcome(family, direction, 2, sign * effect if family == "operator" else 0, moved))
    return found


def test_a_hook_that_changed_nothing_is_an_error_and_no_null_result() -> None:
    check_activations(outcomes())
    with pytest.raises(PhaseError, match="changed no hidden state"):
        check_activations(outcomes(moved=0.0))


def test_a_change_at_strength_zero_is_an_error() -> None:
    found = outcomes()
    found[2] = outcome("operator", "to_negative", 0, 0, 1e-9)
    with pytest.raises(PhaseError, match="strength is 0"):
        check_activations(found)


def test_separation_is_positive_when_each_direction_moves_the_text_its_own_way() -> None:
    found = separations(outcomes(effect=1.0), seed=0)
    assert found["log_odds", "operator", 2].point == pytest.approx(2.0)
    assert found["log_odds", "operator", 2].low > 1.9
    assert found["vader", "operator", 2].point == 0


def test_the_advantage_over_a_control_is_judged_opening_by_opening() -> None:
    figures = Experiment.of(OPENINGS, outcomes(effect=0.001), seed=0).figures
    # The texts of an opening differ by 0.002 between directions, and by up to 0.07 between openings.
    assert figures["log_odds_advantage_over_random_unitary_low"] == pytest.approx(0.002)


def test_the_gates_have_their_figures() -> None:
    figures = Experiment.of(OPENINGS, outcomes(), seed=0).figures
    assert figures["activation_change"] == 0.1
    assert figures["activations_changed_at_zero"] == 0
    assert figures["log_odds_separation_low"] <= figures["log_odds_separation"] <= figures["log_odds_separation_high"]
    assert figures["perplexity_ratio"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("effect", "judgement"), [(1.0, "**confirmed**"), (0.0, "**undecided**"), (-1.0, "**refuted**")]
)
def test_the_description_judges_by_the_interval(effect: float, judgement: str) -> None:
    text = describe(Experiment.of(OPENINGS, outcomes(effect), seed=0))
    claims = [line for line in text.splitlines() if line.startswith("| log_odds: ") or line.startswith("| vader: ")]
    assert len(claims) == 6
    assert all(judgement in line for line in claims if "log_odds" in line)
    assert all("**undecided**" in line for line in claims if "vader" in line)


def test_the_description_shows_texts_as_they_are() -> None:
    found = outcomes()
    found[0].texts[0] = "a | b\nand  c"
    text = describe(Experiment.of(OPENINGS, found, seed=0))
    assert "| opening 0 | a \\| b and c |" in text
