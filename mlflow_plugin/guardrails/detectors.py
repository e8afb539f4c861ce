"""Detect spikes, plateaus and overfitting in a stream of values, in constant time and memory per value. Pure.

Written here because libraries for change points (ruptures, river) need the whole series or return alarms without the
sentence that a person reads, and add heavy dependencies to every training.
"""

import math
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean, median, pvariance

_MAD_TO_STD = 1.4826
"""Standard deviation of normally distributed noise / its median absolute deviation: 1 / (normal quantile of 0.75)."""


class SpikeDetector:
    """Detect a value that jumps away from the last `window` values in the worse direction.

    The criterion is the modified z-score of Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993: the distance
    from the window's median, divided by 1.4826 MAD (median absolute deviation), is above `threshold`. Their bound of
    3.5 is meant for one test of one sample. Among 100,000 values many exceed it, so this bound is higher, and a spike
    must also be twice as far out as any value in the window, because batches vary more than normal noise does. While
    all values are positive, their logarithms are compared: the noise of losses and gradients grows with their size.
    There is at most one alarm per window.

    Args:
        worse: 1 when higher values are worse, -1 when lower values are worse.
        window: How many previous values are compared.
        warm_up: How many values are needed before the first alarm.
        threshold: Bound of the modified z-score.
    """

    def __init__(self, worse: int = 1, window: int = 64, warm_up: int = 20, threshold: float = 8.0) -> None:
        self._worse, self._warm_up, self._threshold = worse, warm_up, threshold
        self._recent: deque[float] = deque(maxlen=window)
        self._silent_for = 0

    def update(self, value: float) -> str:
        """Add the next value. Return why it is a spike, empty when it is not.

        >>> detector = SpikeDetector()
        >>> [detector.update(1 + 0.01 * (number % 3)) for number in range(20)] == [""] * 20
        True
        >>> detector.update(5.0)
        'a spike; the previous 20 values were around 1.01'
        """
        usual, count = self._usual_if_spike(value), len(self._recent)
        self._recent.append(value)
        self._silent_for = max(0, self._silent_for - 1)
        if usual is None or self._silent_for:
            return ""
        self._silent_for = self._recent.maxlen or 0
        return f"a spike; the previous {count} values were around {usual:.4g}"

    def _usual_if_spike(self, value: float) -> float | None:
        """Return the window's median when the value is a spike, else None."""
        recent, worse = self._recent, self._worse
        if len(recent) < self._warm_up or worse * value <= max(worse * old for old in recent):
            return None
        usual = median(recent)
        if min(recent) > 0 and value > 0:
            distances = [worse * math.log(old / usual) for old in recent]
            distance = worse * math.log(value / usual)
        else:
            distances = [worse * (old - usual) for old in recent]
            distance = worse * (value - usual)
        spread = _MAD_TO_STD * median(map(abs, distances))
        # An almost constant curve has no spread: rounding alone must not raise an alarm.
        minimum = 0.05 if min(recent) > 0 and value > 0 else 0.05 * abs(usual)
        bound = max(self._threshold * spread, 2 * max(distances), minimum)
        return usual if distance > bound else None


class PlateauDetector:
    """Detect that a value has stopped improving.

    The stream is kept as the means of at most 64 segments of equal length. Whenever a segment is full, the means of the
    last quarter of the whole stream are compared with those of the quarter before it (gain g, standard error s of the
    difference of two sample means, value v). It is a plateau when g + 3 s < `least` v: even the optimistic estimate is
    too small. It is not a plateau when g > 3 s and g > 0.1 `least` v: this is slow but certain progress. When the noise
    allows neither conclusion, there is no alarm. Healthy curves often begin flat, so at least 128 values and a quarter
    of all steps are needed, or 1,000 values when the number of steps is unknown. There is one alarm until there is
    certain progress of at least `least` v.

    Args:
        worse: 1 when higher values are worse, -1 when lower values are worse.
        least: The smallest relative improvement between two quarters that counts as progress.
    """

    _SEGMENTS = 64
    _MIN_VALUES, _MIN_VALUES_UNKNOWN_TOTAL = 128, 1000

    def __init__(self, worse: int = 1, least: float = 0.01) -> None:
        self._worse, self._least = worse, least
        self._means: list[float] = []
        self._length, self._sum, self._count = 1, 0.0, 0
        self._alarmed = False

    def update(self, value: float, done: float | None = None) -> str:
        """Add the next value. Return why there is a plateau, empty when there is none.

        Args:
            value: The next value.
            done: The fraction of all steps that has passed, 0 to 1, None when unknown.
        """
        self._sum += value
        self._count += 1
        if self._count < self._length:
            return ""
        self._means.append(self._sum / self._length)
        self._sum, self._count = 0.0, 0
        if len(self._means) == self._SEGMENTS:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means, self._length = [(one + other) / 2 for one, other in pairs], self._length * 2
        seen = len(self._means) * self._length
        early = seen < self._MIN_VALUES_UNKNOWN_TOTAL if done is None else seen < self._MIN_VALUES or done < 0.25
        return "" if early else self._compare_quarters(seen)

    def _compare_quarters(self, seen: int) -> str:
        quarter = len(self._means) // 4
        before, after = self._means[-2 * quarter : -quarter], self._means[-quarter:]
        gain = self._worse * (fmean(before) - fmean(after))
        error = math.sqrt((pvariance(before) + pvariance(after)) / (quarter - 1))
        value = max(abs(fmean(before)), abs(fmean(after)))
        if gain > max(3 * error, 0.1 * self._least * value):
            self._alarmed = self._alarmed and gain < self._least * value
        elif gain + 3 * error < self._least * value and not self._alarmed:
            self._alarmed = True
            window = 2 * quarter * self._length
            return f"a plateau; over the last {window} of {seen} values it improved by less than {self._least:.0%}"
        return ""


class OverfittingDetector:
    """Detect that a validation loss rises while the training loss falls.

    The criterion is the generalization loss GL(t) = E_va(t) / E_opt(t) - 1 of Prechelt, Early Stopping - But When?,
    1998: how far the validation loss is above its minimum so far. Here the minimum is the lowest median of five
    consecutive values. GL must be above `least` and the difference above three times the noise (estimated from the
    differences of neighbours) in five consecutive validations, and the training loss must have fallen since the
    minimum. There is one alarm until there is a new minimum.

    Args:
        least: The smallest GL that counts, as a fraction: 0.05 is 5% above the minimum.
    """

    _IN_A_ROW = 5

    def __init__(self, least: float = 0.05) -> None:
        self._least = least
        self._recent: deque[float] = deque(maxlen=32)
        self._training: deque[float] = deque(maxlen=self._IN_A_ROW)
        self._sum, self._count = 0.0, 0
        self._lowest, self._training_at_lowest = math.inf, math.inf
        self._alarmed = False

    def update_training(self, value: float) -> None:
        """Add a training loss between two validations."""
        self._sum += value
        self._count += 1

    def update_validation(self, value: float) -> str:
        """Add the next validation loss. Return why the model overfits, empty when it does not."""
        self._recent.append(value)
        if self._count:
            self._training.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if len(self._recent) < 2 * self._IN_A_ROW or not self._training:
            return ""
        latest, trained = list(self._recent)[-self._IN_A_ROW :], fmean(self._training)
        if median(latest) < self._lowest:
            self._lowest, self._training_at_lowest, self._alarmed = median(latest), trained, False
        margin = max(self._least * abs(self._lowest), 3 * _noise(self._recent))
        if self._alarmed or min(latest) <= self._lowest + margin or trained >= self._training_at_lowest:
            return ""
        self._alarmed = True
        return f"overfitting; its minimum was {self._lowest:.4g}, and the training loss has fallen since"


def _noise(values: Iterable[float]) -> float:
    """Estimate the standard deviation of the noise around a trend from the differences of neighbours (median-based)."""
    return _MAD_TO_STD * median(abs(late - early) for early, late in pairwise(values)) / 2**0.5
