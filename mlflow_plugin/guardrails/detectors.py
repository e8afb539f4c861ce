"""Spikes, plateaus and overfitting in a stream of values. Pure arithmetic, in constant time and memory a value."""

import math
from collections import deque
from collections.abc import Iterable
from itertools import pairwise
from statistics import fmean, median, pvariance

_NORMAL = 1.4826
"""The standard deviation of normal noise is this many times the median absolute deviation."""


class SpikeDetector:
    """Tells a value that leaps away from the last `window` values, towards the worse: up for `worse` 1, down for -1.

    A spike lies more than `threshold` times 1.4826 MAD (the median absolute deviation) from the median of the window:
    the modified z-score of Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993. Their bound of 3.5 is meant
    for a sample that is looked at once; of 100,000 values many pass it, so the bound here is higher, and a spike must
    also lie twice as far out as anything in the window, since batches differ more than normal noise does. While all
    values are positive their logarithms are compared, for the noise of losses and gradients grows with their size.
    One alarm a window.
    """

    def __init__(self, worse: int = 1, window: int = 64, warm_up: int = 20, threshold: float = 8.0) -> None:
        self._worse, self._warm_up, self._threshold = worse, warm_up, threshold
        self._recent: deque[float] = deque(maxlen=window)
        self._quiet = 0

    def see(self, value: float) -> str:
        """Why a value is a spike, or an empty text."""
        usual, before = self._judge(value), len(self._recent)
        self._recent.append(value)
        self._quiet = max(0, self._quiet - 1)
        if usual is None or self._quiet:
            return ""
        self._quiet = self._recent.maxlen or 0
        return f"a spike; the {before} values before were around {usual:.4g}"

    def _judge(self, value: float) -> float | None:
        """The usual value when this one is a spike, else None."""
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
        spread = _NORMAL * median(map(abs, distances))
        # Curves that are almost constant have no spread to go by; rounding alone must not raise the alarm.
        least = 0.05 if min(recent) > 0 and value > 0 else 0.05 * abs(usual)
        bound = max(self._threshold * spread, 2 * max(distances), least)
        return usual if distance > bound else None


class PlateauDetector:
    """Tells when a value has stopped to improve: to fall for `worse` 1, to rise for -1.

    The stream is kept as the means of at most 64 equal stretches. Whenever one is full, the last quarter of the whole
    stream is compared with the quarter before it. It is a plateau when the improvement lies below `least` of the value
    even with its standard error added three times, and neither above a tenth of that nor above zero by as much: slow
    but certain progress is none, and where noise hides what happens, nothing is said. Many a healthy curve begins
    flat, so that at least 128 values and a quarter of all steps must have passed, or 1,000 values where the number of
    steps is not known. One alarm until there is certain progress above `least` again.
    """

    _STRETCHES = 64
    _FEWEST, _FEWEST_OF_UNKNOWN = 128, 1000

    def __init__(self, worse: int = 1, least: float = 0.01) -> None:
        self._worse, self._least = worse, least
        self._means: list[float] = []
        self._length, self._sum, self._count = 1, 0.0, 0
        self._told = False

    def see(self, value: float, done: float | None = None) -> str:
        """Why there is a plateau, or an empty text. `done` is the part of all steps that has passed, if known."""
        self._sum += value
        self._count += 1
        if self._count < self._length:
            return ""
        self._means.append(self._sum / self._length)
        self._sum, self._count = 0.0, 0
        if len(self._means) == self._STRETCHES:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means, self._length = [(one + other) / 2 for one, other in pairs], self._length * 2
        seen = len(self._means) * self._length
        early = seen < self._FEWEST_OF_UNKNOWN if done is None else seen < self._FEWEST or done < 0.25
        return "" if early else self._judge(seen)

    def _judge(self, seen: int) -> str:
        quarter = len(self._means) // 4
        before, after = self._means[-2 * quarter : -quarter], self._means[-quarter:]
        gain = self._worse * (fmean(before) - fmean(after))
        error = math.sqrt((pvariance(before) + pvariance(after)) / (quarter - 1))
        value = max(abs(fmean(before)), abs(fmean(after)))
        if gain > max(3 * error, 0.1 * self._least * value):
            self._told = self._told and gain < self._least * value
        elif gain + 3 * error < self._least * value and not self._told:
            self._told = True
            window = 2 * quarter * self._length
            return f"a plateau; over the last {window} of {seen} values it improved by less than {self._least:.0%}"
        return ""


class OverfittingDetector:
    """Tells when a validation loss rises while the training loss falls.

    The generalization loss of Prechelt, Early Stopping - But When?, 1998: how far the validation loss lies above its
    lowest so far, here the lowest median of five values in a row. It has to be above 5% and above three times the
    noise (from the differences of neighbours) at five validations in a row, while the training loss has fallen since.
    One alarm until there is a new lowest.
    """

    _IN_A_ROW = 5

    def __init__(self, least: float = 0.05) -> None:
        self._least = least
        self._recent: deque[float] = deque(maxlen=32)
        self._training: deque[float] = deque(maxlen=self._IN_A_ROW)
        self._sum, self._count = 0.0, 0
        self._lowest, self._training_then = math.inf, math.inf
        self._told = False

    def training(self, value: float) -> None:
        """Takes a training loss between two validations."""
        self._sum += value
        self._count += 1

    def validation(self, value: float) -> str:
        """Why the model overfits, or an empty text."""
        self._recent.append(value)
        if self._count:
            self._training.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if len(self._recent) < 2 * self._IN_A_ROW or not self._training:
            return ""
        latest, trained = list(self._recent)[-self._IN_A_ROW :], fmean(self._training)
        if median(latest) < self._lowest:
            self._lowest, self._training_then, self._told = median(latest), trained, False
        margin = max(self._least * abs(self._lowest), 3 * _noise(self._recent))
        if self._told or min(latest) <= self._lowest + margin or trained >= self._training_then:
            return ""
        self._told = True
        return f"overfitting; it was {self._lowest:.4g} at its lowest, and the training loss has fallen since"


def _noise(values: Iterable[float]) -> float:
    """Standard deviation of what neighbours differ by, trend apart; robust against single leaps."""
    return _NORMAL * median(abs(late - early) for early, late in pairwise(values)) / 2**0.5
