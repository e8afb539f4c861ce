"""What a project declares: Project, Phase, Pipeline, Gate, Quality. Read and validated by `mlproject`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.parameters import Parameter, Value

PLUGIN_PARAMETERS = ("decide", "price_per_hour")
"""Parameters of the plugin itself, which every phase takes whether it declares them or not."""
DECIDE_VALUES = ("ask", "reuse", "rerun", "fail", "wait")
LOG_FILE = "EXPERIMENT_LOG.md"
"""The experiment log in a project's folder. It grows with every run, so it never counts as code or input."""
_OPERATORS = ("<=", ">=", "==", "!=", "<", ">")


@dataclass(frozen=True)
class Quality:
    """The metric that tells whether a phase's result is worth keeping, and its two thresholds."""

    metric: str
    good: float
    poor: float
    higher_is_better: bool = True

    def grade(self, value: float | None) -> str:
        """`good`, `between`, `poor`, or `unknown` when the metric was never logged or is not finite."""
        if value is None or not math.isfinite(value):
            return "unknown"
        sign = 1 if self.higher_is_better else -1
        if sign * value >= sign * self.good:
            return "good"
        return "borderline" if sign * value >= sign * self.poor else "poor"


@dataclass(frozen=True)
class CheckpointPolicy:
    """How often a phase saves a checkpoint (`every` so many steps, None: by its expected duration), and which of them
    stay: the last `keep_last`, the best `keep_best` by quality, and one for every `keep_every` steps.
    """

    every: int | None = None
    keep_last: int = 3
    keep_best: int = 1
    keep_every: int | None = None


@dataclass(frozen=True)
class Gate:
    """A condition on logged metrics: `metric OPERATOR metric-or-number`."""

    text: str
    left: str
    operator: str
    right: str

    @classmethod
    def parse(cls, text: str) -> "Gate":
        """Raises ValueError when the text is no condition of that form."""
        for operator in _OPERATORS:
            left, found, right = text.partition(operator)
            if found and left.strip() and right.strip() and not any(sign in left + right for sign in "<>=!"):
                return cls(text, left.strip(), operator, right.strip())
        raise ValueError(f"{text!r} is no condition; write METRIC {' | '.join(_OPERATORS)} METRIC-OR-NUMBER")

    def failure(self, metrics: Mapping[str, float]) -> str | None:
        """Why the gate does not pass, or None when it passes. A metric that was never logged fails it."""
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
        return None if passed else f"gate {self.text!r} failed: {left:.6g} against {right:.6g}"


@dataclass(frozen=True)
class Phase:
    """An entry point that declares `phase:`."""

    name: str
    command: str
    parameters: Mapping[str, Parameter]
    needs: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    quality: Quality | None = None
    gates: tuple[Gate, ...] = ()
    max_age_seconds: float | None = None
    code: tuple[str, ...] | None = None
    timeout_minutes: float | None = None
    size: tuple[str, ...] = ()
    checkpoints: CheckpointPolicy = CheckpointPolicy()

    @property
    def steering_parameters(self) -> frozenset[str]:
        """Parameters that steer the plugin and never change a result."""
        return frozenset({*PLUGIN_PARAMETERS, *(f"{need}_run_id" for need in self.needs)})

    @property
    def result_parameters(self) -> list[Parameter]:
        """Parameters that change the result, by name."""
        left_out = self.ignore | self.steering_parameters
        return [parameter for name, parameter in sorted(self.parameters.items()) if name not in left_out]

    def resolve(self, given: Mapping[str, object]) -> dict[str, Value]:
        """Typed values of every declared parameter. Raises UsageError: unknown, missing or of the wrong type."""
        known = {*self.parameters, *self.steering_parameters}
        if unknown := sorted(set(given) - known):
            raise UsageError(
                f"{self.name} has no parameter {unknown[0]!r}. Its parameters: {', '.join(sorted(known)) or 'none'}."
            )
        decide = str(given.get("decide", "ask"))
        if decide not in DECIDE_VALUES:
            raise UsageError(f"decide={decide!r} is not one of {', '.join(DECIDE_VALUES)}.")
        return {name: parameter.value(given.get(name)) for name, parameter in self.parameters.items()}

    def grade(self, metrics: Mapping[str, float]) -> str:
        """`good`, `between`, `poor`, `unknown` or `gate` (good, but a gate fails), from a run's metrics."""
        grade = self.quality.grade(metrics.get(self.quality.metric)) if self.quality else "good"
        return "gate" if grade == "good" and self.gate_failures(metrics) else grade

    def gate_failures(self, metrics: Mapping[str, float]) -> list[str]:
        return [failure for gate in self.gates if (failure := gate.failure(metrics))]


@dataclass(frozen=True)
class Pipeline:
    """An entry point that runs several phases in order: `pipeline: [phase4]` and all that they need."""

    name: str
    command: str
    parameters: Mapping[str, Parameter]
    targets: tuple[str, ...]


@dataclass(frozen=True)
class Project:
    """A whole MLproject file, validated."""

    name: str
    directory: Path
    file: Path
    phases: Mapping[str, Phase]
    pipelines: Mapping[str, Pipeline] = field(default_factory=dict)
    other_entry_points: frozenset[str] = frozenset()

    def phase(self, name: str) -> Phase:
        """Raises UsageError naming the phases there are."""
        if name in self.phases:
            return self.phases[name]
        there = ", ".join(self.phases) or "none: add a `phase:` mapping to an entry point"
        raise UsageError(f"{self.file}: there is no phase {name!r}. Phases: {there}.")

    def order(self, targets: Iterable[str]) -> list[Phase]:
        """The targets and all that they need, each after its needs, in the order of the file."""
        wanted: set[str] = set()
        pending = list(targets)
        while pending:
            name = pending.pop()
            if name not in wanted:
                wanted.add(name)
                pending += self.phase(name).needs
        return [self.phases[name] for name in self._sorted if name in wanted]

    def downstream(self, name: str) -> list[Phase]:
        """The phases that hang on this one, directly or not, in order."""
        reached = {name}
        for other in self._sorted:
            if reached & set(self.phases[other].needs):
                reached.add(other)
        return [self.phases[other] for other in self._sorted if other in reached - {name}]

    def pipeline_parameters(self, pipeline: Pipeline) -> frozenset[str]:
        """All parameters that some phase of a pipeline takes: its own, its pins, the plugin's."""
        phases = self.order(pipeline.targets)
        return frozenset({name for phase in phases for name in (*phase.parameters, *phase.steering_parameters)})

    @cached_property
    def _sorted(self) -> list[str]:
        return list(TopologicalSorter({phase.name: phase.needs for phase in self.phases.values()}).static_order())
