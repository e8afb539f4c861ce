"""Judge claims against controls: confirmed, refuted or undecided, by the interval of the difference."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from projects_common.report import table
from projects_common.statistics import Interval

Judgement = Literal["confirmed", "refuted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """A statement of the form "the quantity is larger than under the control".

    Attributes:
        statement: The claim in words.
        control: The condition that it has to beat.
        difference: The quantity minus that of the control, with its confidence interval.

    >>> Claim("steering moves the text", "random unitary", Interval(-0.1, 0.3, 0.7)).judgement
    'undecided'
    """

    statement: str
    control: str
    difference: Interval

    @property
    def judgement(self) -> Judgement:
        """`confirmed` when the whole interval lies above zero, `refuted` when below, `undecided` when it holds zero."""
        if not self.difference.excludes_zero:
            return "undecided"
        return "confirmed" if self.difference.low > 0 else "refuted"


def claims_table(claims: Iterable[Claim], digits: int = 3) -> str:
    """Return the claims as a Markdown table, with `digits` decimal places."""
    rows = [
        [claim.statement, claim.control, _interval(claim.difference, digits), f"**{claim.judgement}**"]
        for claim in claims
    ]
    return table(["claim", "control", "difference, 95%", "judgement"], rows)


def _interval(interval: Interval, digits: int) -> str:
    point, low, high = (f"{value:+.{digits}f}" for value in (interval.point, interval.low, interval.high))
    return f"{point} [{low}, {high}]"
