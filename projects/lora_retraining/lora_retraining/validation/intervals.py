"""Confidence intervals of proportions: single, as differences and ratios, and how many samples would decide.

Counts may be fractions: an interval for more samples than there are takes the counts to be expected at the same rate.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

MOST_SAMPLES = 10_000_000


@dataclass(frozen=True)
class Interval:
    """An estimate between the two limits of its confidence interval."""

    low: float
    point: float
    high: float


def normal_quantile(confidence: float) -> float:
    """z such that a standard normal variable lies within -z..z with that probability."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(successes: float, samples: float, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference"), as `scipy.stats.binomtest(...).proportion_ci(method="wilson")` has it for whole counts. Without
    samples it is 0 to 1 around one half.

    Raises ValueError for counts that cannot be.
    """
    if samples < 0 or not -1e-9 <= successes <= samples + 1e-9:
        raise ValueError(f"{successes} successes of {samples} samples cannot be.")
    if samples == 0:
        return Interval(0.0, 0.5, 1.0)
    z = normal_quantile(confidence)
    rate = min(1.0, max(0.0, successes / samples))
    centre = (rate + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z / (1 + z * z / samples) * sqrt(rate * (1 - rate) / samples + z * z / (4 * samples * samples))
    return Interval(max(0.0, min(rate, centre - half)), rate, min(1.0, max(rate, centre + half)))


@dataclass(frozen=True)
class Pairs:
    """How often both of two were right on the same item, only the first, only the second, neither."""

    both: float
    first: float
    second: float
    neither: float

    @property
    def count(self) -> float:
        return self.both + self.first + self.second + self.neither

    def scaled(self, factor: float) -> "Pairs":
        """What would be expected of `factor` times as many pairs."""
        return Pairs(self.both * factor, self.first * factor, self.second * factor, self.neither * factor)


def paired_difference(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Rate of the first minus rate of the second, both on the same items: method 10 of Newcombe 1998, "Improved
    confidence intervals for the difference between binomial proportions based on paired data". Without pairs -1 to 1.
    """
    count = pairs.count
    if not count:
        return Interval(-1.0, 0.0, 1.0)
    first = wilson(pairs.both + pairs.first, count, confidence)
    second = wilson(pairs.both + pairs.second, count, confidence)
    margins = (pairs.both + pairs.first) * (pairs.second + pairs.neither)
    margins *= (pairs.both + pairs.second) * (pairs.first + pairs.neither)
    cross = pairs.both * pairs.neither - pairs.first * pairs.second
    if cross > 0:
        cross = max(cross - count / 2, 0.0)
    phi = cross / sqrt(margins) if margins > 0 else 0.0
    down, up = first.point - first.low, first.high - first.point
    other_down, other_up = second.point - second.low, second.high - second.point
    difference = first.point - second.point
    low = difference - sqrt(max(0.0, down**2 - 2 * phi * down * other_up + other_up**2))
    high = difference + sqrt(max(0.0, up**2 - 2 * phi * up * other_down + other_down**2))
    return Interval(max(-1.0, low), difference, min(1.0, high))


def independent_ratio(first: Interval, second: Interval) -> Interval:
    """Rate of the first over rate of the second, of different items, from the intervals of both (Donner and Zou 2012,
    "Closed-form confidence intervals for functions of the normal mean and standard deviation", the ratio by recovered
    variances). The upper limit is infinite where the second rate may be 0.
    """
    product = first.point * second.point
    ratio = first.point / second.point if second.point else (inf if first.point else 1.0)
    # The larger the second, the smaller the ratio, so each limit takes the opposite one of the second.
    below = second.high * (2 * second.point - second.high)
    root = product**2 - first.low * (2 * first.point - first.low) * below
    low = (product - sqrt(max(0.0, root))) / below if below > 0 else first.low / second.high
    above = second.low * (2 * second.point - second.low)
    root = product**2 - first.high * (2 * first.point - first.high) * above
    high = (product + sqrt(max(0.0, root))) / above if above > 0 else inf
    return Interval(max(0.0, min(low, ratio)), ratio, max(ratio, high))


def samples_to_decide(samples: float, decided: Callable[[float], bool]) -> int | None:
    """How many samples more than `samples` it takes until `decided(factor)` holds, `factor` being how many times as
    many there are. None when ten million would not do.
    """
    if samples <= 0:
        return None
    enough = samples
    while not decided(enough / samples):
        enough *= 2
        if enough > MOST_SAMPLES:
            return None
    low, high = (int(samples) if enough == samples else int(enough // 2)), int(enough)
    while low < high:
        middle = (low + high) // 2
        if decided(middle / samples):
            high = middle
        else:
            low = middle + 1
    return max(0, high - int(samples))
