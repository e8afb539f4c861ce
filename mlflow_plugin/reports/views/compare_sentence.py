"""A comparison in one sentence."""

from collections.abc import Mapping, Sequence

from mlflow_plugin.format import describe_cost
from mlflow_plugin.project.project import Phase
from mlflow_plugin.reports import models
from mlflow_plugin.store import schema

_MANY = 3
_ALIKE = 1.05
_NO_CHANGE = ("the code is the same", "the code is not recorded")


def comparison_sentence(phase: Phase | None, comparison: models.Comparison) -> str:
    """Return the differences of the right run and their effect, for example
    `fidelity 0.9612 -> 0.9401 (worse); lr 0.001 -> 0.01; 1 file changed, 1 changed only cosmetically; 2x as long`.
    """
    effects = {effect.name: effect for effect in comparison.effects}
    differences = [
        *_parameters(comparison),
        *_code(comparison),
        *_inputs(comparison),
        *_environment(comparison),
        *_hardware(comparison),
    ]
    if not differences:
        differences = [_made_alike(comparison)]
    quality = _quality(effects[phase.quality.metric]) if phase and phase.quality else []
    return "; ".join([*quality, *differences, *_time_and_cost(effects), *_incomplete(comparison)])


def _quality(effect: models.Effect) -> list[str]:
    left, right = _number(effect.left), _number(effect.right)
    if effect.left is None or effect.right is None:
        return [f"{effect.name} {left} -> {right}"]
    if effect.better is None:
        return [f"{effect.name} {left} as before"]
    return [f"{effect.name} {left} -> {right} ({'better' if effect.better == 'right' else 'worse'})"]


def _parameters(comparison: models.Comparison) -> list[str]:
    changed = [one for one in comparison.parameters if one.changes_result and not one.same]
    return _some([f"{one.name} {_text(one.left)} -> {_text(one.right)}" for one in changed], "parameter")


def _code(comparison: models.Comparison) -> list[str]:
    code = comparison.code
    command = [] if code.command.same else ["another command"]
    return [*([] if code.summary in _NO_CHANGE else [code.summary]), *command]


def _inputs(comparison: models.Comparison) -> list[str]:
    parts = []
    for one in comparison.inputs:
        if one.same_bytes is not True:
            left, right = (used.short if used else "none" for used in (one.left, one.right))
            bytes_differ = "not known if of the same bytes" if one.same_bytes is None else "other bytes"
            parts.append(f"{one.need} {left} -> {right} ({bytes_differ})")
    return _some(parts, "input")


def _environment(comparison: models.Comparison) -> list[str]:
    changes = comparison.environment.changes
    return _some([f"{one.name} {_text(one.left)} -> {_text(one.right)}" for one in changes], "change of environment")


def _hardware(comparison: models.Comparison) -> list[str]:
    return ["other hardware"] if comparison.hardware.same is False else []


def _made_alike(comparison: models.Comparison) -> str:
    alike = ["parameters", "inputs"]
    alike += ["code"] if comparison.code.summary == _NO_CHANGE[0] else []
    alike += ["environment"] if comparison.environment.recorded else []
    alike += ["hardware"] if comparison.hardware.same else []
    return f"{', '.join(alike[:-1])} and {alike[-1]} are the same"


def _time_and_cost(effects: Mapping[str, models.Effect]) -> list[str]:
    time, cost = effects.get(schema.DURATION_SECONDS), effects.get(schema.COST_USD)
    ratio, price = (effect and effect.ratio for effect in (time, cost))
    parts = []
    if ratio:
        longer = f"{ratio:.2g}x as long" if ratio >= 1 else f"{1 / ratio:.2g}x as fast"
        parts.append("about as long" if 1 / _ALIKE <= ratio <= _ALIKE else longer)
    if cost and price and not (ratio and 1 / _ALIKE <= price / ratio <= _ALIKE):
        left, right = (describe_cost(usd or 0.0) for usd in (cost.left, cost.right))
        parts += [] if left == right else [f"cost {left} -> {right}"]
    return parts


def _incomplete(comparison: models.Comparison) -> list[str]:
    runs = (comparison.left, comparison.right)
    return [f"{run.short} has not completed" for run in runs if run.completed_at is None]


def _some(parts: Sequence[str], noun: str) -> list[str]:
    more = len(parts) - _MANY
    return [*parts[:_MANY], *([f"{more} more {noun}{'s' if more > 1 else ''}"] if more > 0 else [])]


def _text(value: str | None) -> str:
    return "none" if value is None else value if len(value) <= 40 else f"{value[:37]}..."


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
