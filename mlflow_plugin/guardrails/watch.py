"""Watches the metrics that a phase logs: what must stop it, and what a person should be told. Pure; no torch.

| what | which metrics | what follows |
|---|---|---|
| NaN or Inf | losses, gradients, the quality metric, the metrics of gates | stop |
| NaN or Inf | all others | warning, once until it is finite again |
| spike (`detectors.SpikeDetector`) | losses and gradients upwards, the quality metric towards the worse | warning |
| plateau (`detectors.PlateauDetector`) | losses and the quality metric | warning, once until it improves again |
| validation loss rises while training loss falls (`detectors.OverfittingDetector`) | pairs of losses | warning |

A metric is a loss or a gradient when a word of its name says so: `train/loss`, `eval_loss`, `nll`, `gradNorm`.
Perplexity is none: it overflows where the loss it is made of is still sound. Nor is the scale of a loss scaler.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mlflow_plugin.guardrails.detectors import OverfittingDetector, PlateauDetector, SpikeDetector

_LOSS_WORDS = {"loss", "losses", "nll"}
_GRADIENT_WORDS = {"grad", "grads", "gradient", "gradients"}
_VALIDATION_WORDS = {"val", "valid", "validation", "eval", "evaluation", "dev", "test", "heldout", "held", "out"}
_SCALE_WORDS = {"scale", "scaler", "weight"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Alarm:
    """What was seen of one value. `stop`: the phase must not go on; `warn`: a person should know."""

    kind: Literal["stop", "warn"]
    metric: str
    value: float
    step: int | None
    text: str


def words_of(name: str) -> frozenset[str]:
    """The words of a metric's name in lower case: `eval/gradNorm` has `eval`, `grad` and `norm`."""
    return frozenset(word.lower() for word in _WORD.findall(name))


def is_loss(name: str) -> bool:
    """Whether a metric's name says that it is a loss: lower is better, and not finite means that training broke."""
    words = words_of(name)
    return bool(words & _LOSS_WORDS) and not words & _SCALE_WORDS


def is_gradient(name: str) -> bool:
    """Whether a metric's name says that it is a gradient or the norm of one."""
    words = words_of(name)
    return bool(words & _GRADIENT_WORDS) and not words & _SCALE_WORDS


class MetricWatch:
    """Judges each logged value, in the order in which they are logged. Constant time and memory for each metric.

    `quality` is the name of the phase's quality metric, `vital` the metrics of its gates.
    """

    def __init__(self, quality: str | None = None, higher_is_better: bool = True, vital: Iterable[str] = ()) -> None:
        self._quality, self._higher_is_better = quality, higher_is_better
        self._vital = frozenset(vital) | ({quality} if quality else set())
        self._metrics: dict[str, _Metric] = {}

    def see(self, name: str, value: float, step: int | None, total: int | None = None) -> list[Alarm]:
        """What is to be said of one value, usually nothing. `total` is the number of steps of the loop, if known."""
        value = float(value)
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = self._watched(name)
        if not math.isfinite(value):
            return self._not_finite(metric, value, step)
        metric.finite = True
        done = step / total if total and step is not None else None
        texts = [text for text in (metric.judge(value, done), self._overfitting(metric, value)) if text]
        return [Alarm("warn", name, value, step, f"{_told(name, value, step)}: {text}") for text in texts]

    def _watched(self, name: str) -> "_Metric":
        worse = -1 if name == self._quality and self._higher_is_better else 1
        progresses = is_loss(name) or name == self._quality
        return _Metric(
            name,
            stops=progresses or is_gradient(name) or name in self._vital,
            spike=SpikeDetector(worse) if progresses or is_gradient(name) else None,
            plateau=PlateauDetector(worse) if progresses else None,
            overfitting=OverfittingDetector() if is_loss(name) and words_of(name) & _VALIDATION_WORDS else None,
        )

    def _not_finite(self, metric: "_Metric", value: float, step: int | None) -> list[Alarm]:
        told = _told(metric.name, value, step)
        if metric.stops:
            return [Alarm("stop", metric.name, value, step, f"{told}: the training has broken down")]
        first, metric.finite = metric.finite, False
        return [Alarm("warn", metric.name, value, step, told)] if first else []

    def _overfitting(self, metric: "_Metric", value: float) -> str:
        if metric.overfitting is not None:
            return metric.overfitting.validation(value)
        if is_loss(metric.name):
            for other in self._metrics.values():
                if other.overfitting is not None and _same_loss(metric.name, other.name):
                    other.overfitting.training(value)
        return ""


@dataclass
class _Metric:
    name: str
    stops: bool
    spike: SpikeDetector | None
    plateau: PlateauDetector | None
    overfitting: OverfittingDetector | None
    finite: bool = True

    def judge(self, value: float, done: float | None) -> str:
        spike = self.spike.see(value) if self.spike else ""
        plateau = self.plateau.see(value, done) if self.plateau else ""
        return spike or plateau


def _same_loss(training: str, validation: str) -> bool:
    """Whether two names mean one loss, on the training and on the validation data: `train_loss` and `eval/loss`."""
    return words_of(training) - {"train", "training"} == words_of(validation) - _VALIDATION_WORDS


def _told(name: str, value: float, step: int | None) -> str:
    return f"{name} is {value:.4g}" + ("" if step is None else f" at step {step}")
