"""The results of two runs of one phase: quality, time, cost, the other metrics, and the run that did better."""

from typing import Literal

from mlflow_plugin.format import finite
from mlflow_plugin.project.project import Phase
from mlflow_plugin.reports import models
from mlflow_plugin.store import schema
from mlflow_plugin.store.run import PhaseRun

_AT_MOST = 500
_OWN = "phase."
_OF_THE_MACHINE = "system/"


def effects_of(phase: Phase | None, left: PhaseRun, right: PhaseRun) -> list[models.Effect]:
    """Return quality, then duration and cost, then every other metric by name.

    Better is: quality as declared, less time and money, and for a metric of a gate the side that the gate asks for.
    """
    direction = {schema.DURATION_SECONDS: -1, schema.COST_USD: -1, **_directions(phase)}
    units: dict[str, Literal["s", "USD"]] = {schema.DURATION_SECONDS: "s", schema.COST_USD: "USD"}
    first = [phase.quality.metric] if phase and phase.quality else []
    logged = {name for run in (left, right) for name in run.metrics if not name.startswith((_OWN, _OF_THE_MACHINE))}
    others = sorted(logged - set(first))[:_AT_MOST]
    return [
        _effect(name, left, right, direction.get(name, 0), units.get(name))
        for name in (*first, schema.DURATION_SECONDS, schema.COST_USD, *others)
        if name in first or name in left.metrics or name in right.metrics
    ]


def _directions(phase: Phase | None) -> dict[str, int]:
    """Return 1 for metrics of which more is better, -1 for those of which less is."""
    directions: dict[str, int] = {}
    for gate in phase.gates if phase else ():
        if gate.operator[0] in "<>":
            directions[gate.left] = 1 if gate.operator[0] == ">" else -1
            directions[gate.right] = -directions[gate.left]
    if phase and phase.quality:
        directions[phase.quality.metric] = 1 if phase.quality.higher_is_better else -1
    return directions


def _effect(
    name: str, left: PhaseRun, right: PhaseRun, direction: int, unit: Literal["s", "USD"] | None
) -> models.Effect:
    one, other = finite(left.metrics.get(name)), finite(right.metrics.get(name))
    effect = models.Effect(name=name, left=one, right=other, difference=None, ratio=None, better=None, unit=unit)
    if one is not None and other is not None:
        effect.difference = finite(other - one)
        effect.ratio = finite(other / one) if one else None
        gain = (effect.difference or 0.0) * direction
        effect.better = "right" if gain > 0 else "left" if gain < 0 else None
    return effect
