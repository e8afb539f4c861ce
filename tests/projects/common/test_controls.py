"""Claims are judged by the interval of their difference from a control."""

import pytest
from projects_common.controls import Claim, claims_table
from projects_common.statistics import Interval


@pytest.mark.parametrize(
    ("low", "high", "judgement"),
    [(0.1, 0.3, "confirmed"), (-0.3, -0.1, "refuted"), (-0.1, 0.3, "undecided"), (0.0, 0.3, "undecided")],
)
def test_a_claim_is_decided_only_by_an_interval_that_excludes_zero(low: float, high: float, judgement: str) -> None:
    assert Claim("it helps", "doing nothing", Interval(low, (low + high) / 2, high)).judgement == judgement


def test_the_table_shows_each_claim_beside_its_control() -> None:
    text = claims_table([Claim("it helps", "doing nothing", Interval(0.1, 0.2, 0.3))], digits=2)
    assert "| it helps | doing nothing | +0.20 [+0.10, +0.30] | **confirmed** |" in text
