"""What a phase declares of a good result: Quality with its two thresholds, and Gates. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_plugin.project.parameters import is_number
from mlflow_plugin.project.vocabulary import Grade

__all__ = ["Gate", "Quality"]

_OPERATORS = ("<=", ">=", "==", "!=", "<", ">")


@dataclass(frozen=True)
class Quality:
    """The metric that measures the quality of a phase's result, and its two thresholds."""

    metric: str
    good: float
    poor: float
    higher_is_better: bool = True

    def grade(self, value: float | None) -> Grade:
        """Return `good`, `borderline`, `poor`, or `unknown` when the metric was never logged or is not finite.

        >>> Quality("accuracy", good=0.9, poor=0.7).grade(0.8)
        'borderline'
        """
        if value is None or not math.isfinite(value):
            return "unknown"
        sign = 1 if self.higher_is_better else -1
        if sign * value >= sign * self.good:
            return "good"
        return "borderline" if sign * value >= sign * self.poor else "poor"


@dataclass(frozen=True)
class Gate:
    """A condition on logged metrics: `metric OPERATOR metric-or-number`."""

    text: str
    left: str
    operator: str
    right: str

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Parse a condition. Raises ValueError when the text has another form.

        >>> Gate.parse("accuracy > 0.5").failure({"accuracy": 0.4})
        "gate 'accuracy > 0.5' failed: 0.4 against 0.5"
        """
        for operator in _OPERATORS:
            left, separator, right = text.partition(operator)
            if separator and left.strip() and right.strip() and not any(sign in left + right for sign in "<>=!"):
                return cls(text, left.strip(), operator, right.strip())
        raise ValueError(f"{text!r} is not a condition; write METRIC {' | '.join(_OPERATORS)} METRIC-OR-NUMBER")

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics that it compares, in order."""
        return [term for term in (self.left, self.right) if not is_number(term)]

    def failure(self, metrics: Mapping[str, float]) -> str | None:
        """Return why the gate fails, None when it passes.

        A metric that was never logged, or is NaN, makes it fail: NaN differs from every number.
        """
        values = []
        for term in (self.left, self.right):
            try:
                values.append(float(term))
            except ValueError:
                if term not in metrics:
                    return f"gate {self.text!r} failed: metric {term!r} was never logged"
                values.append(metrics[term])
        left, right = values
        passed = {
            "<": left < right,
            ">": left > right,
            "<=": left <= right,
            ">=": left >= right,
            "==": left == right,
            "!=": left != right,
        }[self.operator]
        passed = passed and not (math.isnan(left) or math.isnan(right))
        return None if passed else f"gate {self.text!r} failed: {left:.6g} against {right:.6g}"

    def failure_of_run(self, metrics: Mapping[str, float]) -> str | None:
        """Return why a run fails the gate, None when it passes. A metric that is infinite was measured by nobody."""
        infinite = next((name for name in self.metrics if math.isinf(metrics.get(name, 0.0))), None)
        if infinite is not None:
            return f"gate {self.text!r} failed: metric {infinite!r} is {metrics[infinite]}"
        return self.failure(metrics)
