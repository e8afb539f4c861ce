"""Judge the results of a validation by gates: each is passed, failed or undecided, by an interval and not by a
point.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from projects_common.statistics import (
    Interval,
    Pairs,
    independent_ratio,
    paired_difference,
    samples_to_decide,
    wilson,
)

from mlflow_plugin.errors import UsageError

Verdict = Literal["pass", "undecided", "fail"]
NO_PAIRS = Pairs(0, 0, 0, 0)
MEASURES = ("accuracy", "wins", "ties", "losses", "gain", "baseline_ratio")


@dataclass(frozen=True)
class Gate:
    """The success and the red flag of a measure on a dataset (its name, `math`, `code` or `all`).

    Measures are shares, not per cent: `accuracy`; `wins`, `ties`, `losses` of the items compared; `gain`, the accuracy
    minus the reference's; `baseline_ratio`, the accuracy over the baseline's. Of losses fewer are better. `ties` are of
    two right answers, or a judge's; two wrong answers are none of the three.

    Raises:
        UsageError: The measure is unknown, or the red flag is on the wrong side of success.
    """

    dataset: str
    measure: str
    success: float
    red_flag: float

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UsageError(f"a gate cannot be on {self.measure!r}; measures are: {', '.join(MEASURES)}.")
        if self.sign * self.red_flag > self.sign * self.success:
            raise UsageError(
                f"the gate on {self.measure} of {self.dataset} takes {self.success:g} for a success, but already "
                f"{self.red_flag:g} for a red flag; the red flag is the worse one."
            )

    @property
    def sign(self) -> int:
        return -1 if self.measure == "losses" else 1

    @property
    def name(self) -> str:
        return f"{self.dataset} {self.measure}"


@dataclass(frozen=True)
class Counts:
    """The counts of a dataset that the gates need.

    Attributes:
        graded: Items whose answer could be graded.
        right: Those of them that are right.
        compared: Items with an outcome against the reference.
        wins: Those of them that the candidate won; `ties` and `losses` likewise. In the others both are wrong.
        against_reference: Items graded for both.
        against_baseline: Likewise; None if the baseline's items are not known.
        baseline: (right, graded) of the baseline, for when `against_baseline` is None or has less than half of
            these items.
    """

    graded: int = 0
    right: int = 0
    compared: int = 0
    wins: int = 0
    ties: int = 0
    losses: int = 0
    against_reference: Pairs = NO_PAIRS
    against_baseline: Pairs | None = None
    baseline: tuple[int, int] | None = None


@dataclass(frozen=True)
class Judged:
    """A gate with its verdict.

    Attributes:
        samples: Items that it rests on.
        more_samples: How many more would decide it at the same rates; None if it is decided or no number would.
    """

    gate: Gate
    verdict: Verdict
    samples: int
    interval: Interval | None
    more_samples: int | None
    why: str

    @property
    def is_red_flag(self) -> bool:
        """Tell if the estimate itself is on the wrong side of the red flag, sure or not."""
        sign = self.gate.sign
        return self.interval is not None and sign * self.interval.point < sign * self.gate.red_flag

    def to_dict(self) -> dict[str, Any]:
        interval = self.interval
        return {
            **asdict(self.gate),
            "verdict": self.verdict,
            "samples": self.samples,
            **(
                {}
                if interval is None
                else {"value": _finite(interval.point), "low": interval.low, "high": _finite(interval.high)}
            ),
            "more_samples": self.more_samples,
            "why": self.why,
        }


def judge(gate: Gate, counts: Counts) -> Judged:
    """Judge a gate by the 95% interval of its measure.

    `pass`: the estimate is a success, and nothing in the interval is a red flag. `fail`: all of the interval is short
    of success. `undecided` otherwise, or if there is nothing to measure.
    """
    samples, interval_of = _measured(gate, counts)
    if samples == 0:
        return Judged(gate, "undecided", 0, None, None, f"there is nothing on {gate.dataset} to measure it by")
    interval = interval_of(1.0)
    verdict = _verdict(gate, interval)
    more = None
    if verdict == "undecided":
        more = samples_to_decide(samples, lambda factor: _verdict(gate, interval_of(factor)) != "undecided")
    return Judged(gate, verdict, samples, interval, more, _why(gate, interval, verdict, more))


def judge_all(gates: Sequence[Gate], counts: Callable[[str], Counts]) -> list[Judged]:
    """Judge every gate by the counts of its dataset."""
    return [judge(gate, counts(gate.dataset)) for gate in gates]


def overall(judged: Sequence[Judged]) -> Verdict:
    """Return fail if any gate fails, else undecided if any is undecided, else pass, also without gates."""
    verdicts = {one.verdict for one in judged}
    return "fail" if "fail" in verdicts else "undecided" if "undecided" in verdicts else "pass"


def _measured(gate: Gate, counts: Counts) -> tuple[int, Callable[[float], Interval]]:
    """Return the number of items that a measure rests on, and its interval for a multiple of them."""
    if gate.measure == "accuracy":
        return counts.graded, lambda factor: wilson(counts.right * factor, counts.graded * factor)
    if gate.measure == "gain":
        pairs = counts.against_reference
        return int(pairs.count), lambda factor: paired_difference(pairs.scaled(factor))
    if gate.measure == "baseline_ratio":
        return _ratio(counts)
    number = {"wins": counts.wins, "ties": counts.ties, "losses": counts.losses}[gate.measure]
    return counts.compared, lambda factor: wilson(number * factor, counts.compared * factor)


def _ratio(counts: Counts) -> tuple[int, Callable[[float], Interval]]:
    pairs = counts.against_baseline
    if pairs is not None and pairs.count and 2 * pairs.count >= counts.graded:
        return int(pairs.count), lambda factor: _paired_ratio(pairs.scaled(factor))
    if counts.baseline is None or not counts.baseline[1]:
        return 0, lambda _: Interval(0, 0, 0)
    right, graded = counts.baseline

    def ratio(factor: float) -> Interval:
        own = wilson(counts.right * factor, counts.graded * factor)
        return independent_ratio(own, wilson(right * factor, graded * factor))

    return counts.graded, ratio


def _paired_ratio(pairs: Pairs) -> Interval:
    """Return 1 + difference / baseline. The baseline's own rate is taken as it was measured.

    It is 1 if that rate is 0, since nothing can be lost of nothing.
    """
    baseline = (pairs.both + pairs.second) / pairs.count
    if not baseline:
        return Interval(1.0, 1.0, 1.0)
    difference = paired_difference(pairs)
    low, high = 1 + difference.low / baseline, 1 + difference.high / baseline
    return Interval(max(0.0, low), 1 + difference.point / baseline, high)


def _verdict(gate: Gate, interval: Interval) -> Verdict:
    best, worst = (interval.high, interval.low) if gate.sign > 0 else (interval.low, interval.high)
    tiny = 1e-9  # A rate that equals the limit must not miss it by rounding.
    if gate.sign * (best - gate.success) < -tiny:
        return "fail"
    point_is_good = gate.sign * (interval.point - gate.success) >= -tiny
    return "pass" if point_is_good and gate.sign * (worst - gate.red_flag) >= -tiny else "undecided"


def _why(gate: Gate, interval: Interval, verdict: Verdict, more: int | None) -> str:
    side = "below" if gate.sign > 0 else "above"
    limits = f"{interval.low:.1%} to {interval.high:.1%}"
    if verdict == "fail":
        return f"all of {limits} is {side} {gate.success:.1%}"
    if verdict == "pass":
        return f"{interval.point:.1%} is a success, and nothing of {limits} is {side} {gate.red_flag:.1%}"
    if gate.sign * interval.point < gate.sign * gate.success:
        doubt = f"{interval.point:.1%} is {side} {gate.success:.1%}, but {limits} may still hold it"
    else:
        doubt = f"{interval.point:.1%} is a success, but of {limits} some is {side} {gate.red_flag:.1%}"
    return f"{doubt}; {'no number of samples' if more is None else f'{more:,} more samples'} would decide at this rate"


def _finite(value: float) -> float | None:
    """Replace infinity by None: JSON has no infinity."""
    return value if value < float("inf") else None
