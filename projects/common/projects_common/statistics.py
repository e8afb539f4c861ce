"""Confidence intervals: means by the bootstrap; proportions, their differences and ratios in closed form.

Counts may be fractions: an interval for more samples than there are takes the counts to be expected at the same rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MOST_SAMPLES = 10_000_000
"""How far `samples_to_decide` looks."""


@dataclass(frozen=True)
class Interval:
    """An estimate between the two limits of its confidence interval.

    >>> str(Interval(0.1, 0.25, 0.4)), Interval(-0.1, 0.25, 0.6).excludes_zero
    ('+0.250 [+0.100, +0.400]', False)
    """

    low: float
    point: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies above zero, or the whole below."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.point:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def bootstrap(values: "np.ndarray | Sequence[float]", seed: int = 0, draws: int = 2000) -> Interval:
    """Return the mean of values, or of paired differences, with its 95% percentile interval (Efron 1979).

    Raises:
        ValueError: there are no values.
    """
    import numpy as np

    sample = np.asarray(values, dtype=float)
    if sample.size == 0:
        raise ValueError("there is nothing to average")
    picks = np.random.default_rng(seed).integers(0, len(sample), size=(draws, len(sample)))
    low, high = np.percentile(sample[picks].mean(axis=1), [2.5, 97.5])
    return Interval(float(low), float(sample.mean()), float(high))


def normal_quantile(confidence: float) -> float:
    """Return z such that a standard normal variable lies within -z..z with that probability."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def wilson(successes: float, samples: float, confidence: float = 0.95) -> Interval:
    """Return the score interval of a proportion.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference"; for whole counts it is that of
    `scipy.stats.binomtest(...).proportion_ci(method="wilson")`. Without samples it is 0 to 1 around one half.

    >>> str(wilson(81, 263))
    '+0.308 [+0.255, +0.366]'

    Raises:
        ValueError: the counts cannot be.
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
    """Count the items on which both of two were right, only the first, only the second, neither."""

    both: float
    first: float
    second: float
    neither: float

    @property
    def count(self) -> float:
        return self.both + self.first + self.second + self.neither

    def scaled(self, factor: float) -> "Pairs":
        """Return the counts to be expected of `factor` times as many pairs."""
        return Pairs(self.both * factor, self.first * factor, self.second * factor, self.neither * factor)


def paired_difference(pairs: Pairs, confidence: float = 0.95) -> Interval:
    """Return the rate of the first minus the rate of the second, both on the same items.

    Method 10 of Newcombe 1998, "Improved confidence intervals for the difference between binomial proportions based on
    paired data". Without pairs it is -1 to 1.
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
    """Return the rate of the first over the rate of the second, of different items, from the intervals of both.

    Donner and Zou 2012, "Closed-form confidence intervals for functions of the normal mean and standard deviation": the
    ratio by recovered variances. The upper limit is infinite where the second rate may be 0.
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
    """Return how many samples more than `samples` it takes until `decided(factor)` holds.

    `factor` is the number of samples over the present one. None when ten million would not do.
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
