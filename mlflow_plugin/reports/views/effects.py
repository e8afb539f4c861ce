"""What became of two runs of one phase: quality, time, cost and the other metrics, and which of the two did better."""

from typing import Any

from mlflow_plugin.format import finite
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.run import PhaseRun

_AT_MOST = 500
_OWN = "phase."
_OF_THE_MACHINE = "system/"


def effects_of(phase: Phase | None, left: PhaseRun, right: PhaseRun) -> list[dict[str, Any]]:
    """{name, left, right, difference, ratio, better, unit} for quality, then duration and cost, then every other metric
    by name. Difference and ratio are of right to left; `better` is left, right, or None when equal or not known.

    What is better: for quality as declared, less time and money, and what a gate asks for.
    """
    direction = {schema.DURATION_SECONDS: -1, schema.COST_USD: -1, **_directions(phase)}
    units = {schema.DURATION_SECONDS: "s", schema.COST_USD: "USD"}
    first = [phase.quality.metric] if phase and phase.quality else []
    logged = {name for run in (left, right) for name in run.metrics if not name.startswith((_OWN, _OF_THE_MACHINE))}
    others = sorted(logged - set(first))[:_AT_MOST]
    return [
        _effect(name, left, right, direction.get(name, 0), units.get(name))
        for name in (*first, schema.DURATION_SECONDS, schema.COST_USD, *others)
        if name in first or name in left.metrics or name in right.metrics
    ]


def _directions(phase: Phase | None) -> dict[str, int]:
    """1 for metrics of which more is better, -1 for those of which less is."""
    found: dict[str, int] = {}
    for gate in phase.gates if phase else ():
        if gate.operator[0] in "<>":
            found[gate.left] = 1 if gate.operator[0] == ">" else -1
            found[gate.right] = -found[gate.left]
    if phase and phase.quality:
        found[phase.quality.metric] = 1 if phase.quality.higher_is_better else -1
    return found


def _effect(name: str, left: PhaseRun, right: PhaseRun, direction: int, unit: str | None) -> dict[str, Any]:
    one, other = finite(left.metrics.get(name)), finite(right.metrics.get(name))
    difference = ratio = better = None
    if one is not None and other is not None:
        difference = finite(other - one)
        ratio = finite(other / one) if one else None
        gain = (difference or 0.0) * direction
        better = "right" if gain > 0 else "left" if gain < 0 else None
    return {
        "name": name,
        "left": one,
        "right": other,
        "difference": difference,
        "ratio": ratio,
        "better": better,
        "unit": unit,
    }
