"""What is concluded: no null result from a hook that did nothing, no effect where the interval holds 0."""

import pytest

from mlflow_plugin.errors import PhaseError
from projects.sentiment_steering import report
from projects.sentiment_steering.conditions import DIRECTIONS, FAMILIES, Condition
from projects.sentiment_steering.outcomes import Outcome, check_activations, separations, steering_figures

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
    assert found["log_odds", "operator", 2].mean == pytest.approx(2.0)
    assert found["log_odds", "operator", 2].low > 1.9
    assert found["vader", "operator", 2].mean == 0


def test_the_advantage_over_a_control_is_judged_opening_by_opening() -> None:
    figures = steering_figures(outcomes(effect=0.001), seed=0)
    # The texts of an opening differ by 0.002 between directions, and by up to 0.07 between openings.
    assert figures["log_odds_advantage_over_random_unitary_low"] == pytest.approx(0.002)


def test_the_gates_have_their_figures() -> None:
    figures = steering_figures(outcomes(), seed=0)
    assert figures["activation_change"] == 0.1
    assert figures["activations_changed_at_zero"] == 0
    assert figures["log_odds_separation_low"] <= figures["log_odds_separation"] <= figures["log_odds_separation_high"]
    assert figures["perplexity_ratio"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        (1.0, "moved as intended; more than by a random unitary"),
        (0.0, "no effect on the text is shown"),
        (-1.0, "against"),
    ],
)
def test_the_description_says_what_the_interval_allows(effect: float, said: str) -> None:
    found = outcomes(effect)
    text = report.phase3(found, OPENINGS, separations(found, 0), steering_figures(found, 0))
    log_odds = next(line for line in text.splitlines() if line.startswith("- log_odds"))
    vader = next(line for line in text.splitlines() if line.startswith("- vader"))
    assert said in log_odds
    assert "no effect on the text is shown" in vader
