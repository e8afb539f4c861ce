"""Check each metric that a phase logs and raise alarms: `stop` ends the phase, `warn` is logged. Pure; no torch.

| event | metrics | alarm |
|---|---|---|
| NaN or Inf | losses, gradients, the quality metric, the metrics of gates | stop |
| NaN or Inf | all others | warning, once until it is finite again |
| spike (`detectors.SpikeDetector`) | losses and gradients upwards, the quality in the worse direction | warning |
| plateau (`detectors.PlateauDetector`) | losses and the quality metric | warning, once until it improves again |
| validation loss rises while training loss falls (`detectors.OverfittingDetector`) | pairs of losses | warning |

A metric is a loss or a gradient when its name has such a word: `train/loss`, `eval_loss`, `nll`, `gradNorm`. Perplexity
is not a loss: it overflows while the loss that it is computed from is still finite. The scale of a loss scaler is not
a loss either.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mlflow_plugin.guardrails.detectors import OverfittingDetector, PlateauDetector, SpikeDetector
from mlflow_plugin.project.vocabulary import AlarmKind

_LOSS_WORDS = {"loss", "losses", "nll"}
_GRADIENT_WORDS = {"grad", "grads", "gradient", "gradients"}
_VALIDATION_WORDS = {"val", "valid", "validation", "eval", "evaluation", "dev", "test", "heldout", "held", "out"}
_SCALE_WORDS = {"scale", "scaler", "weight"}
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Alarm:
    """An event in one metric. `stop`: the phase must end; `warn`: a person should know; `text` says why."""

    kind: AlarmKind
    metric: str
    value: float
    step: int | None
    text: str


def words_of(name: str) -> frozenset[str]:
    """Return the words of a metric's name in lower case.

    >>> sorted(words_of("eval/gradNorm"))
    ['eval', 'grad', 'norm']
    """
    return frozenset(word.lower() for word in _WORD.findall(name))


def is_loss(name: str) -> bool:
    """Return whether a metric is a loss by its name: lower is better, and NaN or Inf means that training diverged.

    >>> is_loss("train/loss"), is_loss("loss_scale"), is_loss("perplexity")
    (True, False, False)
    """
    words = words_of(name)
    return bool(words & _LOSS_WORDS) and not words & _SCALE_WORDS


def is_gradient(name: str) -> bool:
    """Return whether a metric is a gradient or a gradient's norm by its name."""
    words = words_of(name)
    return bool(words & _GRADIENT_WORDS) and not words & _SCALE_WORDS


class MetricWatch:
    """Check each logged value, in the order of logging. Needs constant time and memory for each metric.

    Args:
        quality: The name of the phase's quality metric, None without one.
        higher_is_better: The direction of the quality metric.
        vital: Names of further metrics that must be finite: those of the phase's gates.
    """

    def __init__(self, quality: str | None = None, higher_is_better: bool = True, vital: Iterable[str] = ()) -> None:
        self._quality, self._higher_is_better = quality, higher_is_better
        self._vital = frozenset(vital) | ({quality} if quality else set())
        self._metrics: dict[str, _Metric] = {}

    def check(self, name: str, value: float, step: int | None, total: int | None = None) -> list[Alarm]:
        """Check one value.

        Args:
            name: The metric.
            value: Its value.
            step: The step it was logged at, None outside a loop.
            total: The number of steps of the loop, None when unknown.

        Returns:
            The alarms, usually none.
        """
        value = float(value)
        metric = self._metrics.get(name)
        if metric is None:
            metric = self._metrics[name] = self._new_metric(name)
        if not math.isfinite(value):
            return self._not_finite(metric, value, step)
        metric.finite = True
        done = step / total if total and step is not None else None
        texts = [text for text in (metric.update(value, done), self._overfitting(metric, value)) if text]
        return [Alarm("warn", name, value, step, f"{_statement(name, value, step)}: {text}") for text in texts]

    def _new_metric(self, name: str) -> "_Metric":
        worse = -1 if name == self._quality and self._higher_is_better else 1
        should_improve = is_loss(name) or name == self._quality
        return _Metric(
            name,
            stops=should_improve or is_gradient(name) or name in self._vital,
            spike=SpikeDetector(worse) if should_improve or is_gradient(name) else None,
            plateau=PlateauDetector(worse) if should_improve else None,
            overfitting=OverfittingDetector() if is_loss(name) and words_of(name) & _VALIDATION_WORDS else None,
        )

    def _not_finite(self, metric: "_Metric", value: float, step: int | None) -> list[Alarm]:
        statement = _statement(metric.name, value, step)
        if metric.stops:
            return [Alarm("stop", metric.name, value, step, f"{statement}: the training has diverged")]
        first, metric.finite = metric.finite, False
        return [Alarm("warn", metric.name, value, step, statement)] if first else []

    def _overfitting(self, metric: "_Metric", value: float) -> str:
        if metric.overfitting is not None:
            return metric.overfitting.update_validation(value)
        if is_loss(metric.name):
            for other in self._metrics.values():
                if other.overfitting is not None and _same_loss(metric.name, other.name):
                    other.overfitting.update_training(value)
        return ""


@dataclass
class _Metric:
    """One metric and its detectors. `stops`: NaN or Inf ends the phase."""

    name: str
    stops: bool
    spike: SpikeDetector | None
    plateau: PlateauDetector | None
    overfitting: OverfittingDetector | None
    finite: bool = True

    def update(self, value: float, done: float | None) -> str:
        spike = self.spike.update(value) if self.spike else ""
        plateau = self.plateau.update(value, done) if self.plateau else ""
        return spike or plateau


def _same_loss(training: str, validation: str) -> bool:
    """Return whether two names mean one loss, on training and on validation data: `train_loss` and `eval/loss`."""
    return words_of(training) - {"train", "training"} == words_of(validation) - _VALIDATION_WORDS


def _statement(name: str, value: float, step: int | None) -> str:
    return f"{name} is {value:.4g}" + ("" if step is None else f" at step {step}")
