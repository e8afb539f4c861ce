"""A comparison in words: one sentence that sums it up, and all of it as text for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_plugin.format import describe_cost
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema

_MANY = 3
_ALIKE = 1.05


def comparison_sentence(phase: Phase | None, view: Mapping[str, Any]) -> str:
    """What the right run did otherwise than the left one, and what came of it, for example
    `fidelity 0.9612 -> 0.9401 (worse); lr 0.001 -> 0.01; 1 file changed, 1 changed only cosmetically; 2x as long`.
    """
    effects = {effect["name"]: effect for effect in view["effects"]}
    made_otherwise = [*_parameters(view), *_code(view), *_inputs(view), *_environment(view), *_hardware(view)]
    if not made_otherwise:
        made_otherwise = [_made_alike(view)]
    quality = _quality(effects[phase.quality.metric]) if phase and phase.quality else []
    return "; ".join([*quality, *made_otherwise, *_time_and_cost(effects), *_incomplete(view)])


def _quality(effect: Mapping[str, Any]) -> list[str]:
    values = [_number(effect[side]) for side in ("left", "right")]
    if effect["left"] is None or effect["right"] is None:
        return [f"{effect['name']} {values[0]} -> {values[1]}"]
    if effect["better"] is None:
        return [f"{effect['name']} {values[0]} as before"]
    return [f"{effect['name']} {values[0]} -> {values[1]} ({'better' if effect['better'] == 'right' else 'worse'})"]


def _parameters(view: Mapping[str, Any]) -> list[str]:
    changed = [one for one in view["parameters"] if one["changes_result"] and not one["same"]]
    return _some([f"{one['name']} {_shown(one['left'])} -> {_shown(one['right'])}" for one in changed], "parameter")


def _code(view: Mapping[str, Any]) -> list[str]:
    summary = view["code"]["summary"]
    command = [] if view["code"]["command"]["same"] else ["another command"]
    return [*([] if summary in _NO_CHANGE else [summary]), *command]


_NO_CHANGE = ("the code is the same", "the code is not recorded")


def _inputs(view: Mapping[str, Any]) -> list[str]:
    found = []
    for one in view["inputs"]:
        if one["same_bytes"] is not True:
            used = [one[side]["short"] if one[side] else "none" for side in ("left", "right")]
            what = "not known whether of the same bytes" if one["same_bytes"] is None else "other bytes"
            found.append(f"{one['need']} {used[0]} -> {used[1]} ({what})")
    return _some(found, "input")


def _environment(view: Mapping[str, Any]) -> list[str]:
    changes = view["environment"]["changes"]
    return _some(
        [f"{one['name']} {_shown(one['left'])} -> {_shown(one['right'])}" for one in changes], "change of environment"
    )


def _hardware(view: Mapping[str, Any]) -> list[str]:
    return ["other hardware"] if view["hardware"]["same"] is False else []


def _made_alike(view: Mapping[str, Any]) -> str:
    alike = ["parameters", "inputs"]
    alike += ["code"] if view["code"]["summary"] == _NO_CHANGE[0] else []
    alike += ["environment"] if view["environment"]["recorded"] else []
    alike += ["hardware"] if view["hardware"]["same"] else []
    return f"{', '.join(alike[:-1])} and {alike[-1]} are the same"


def _time_and_cost(effects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    time, cost = effects.get(schema.DURATION_SECONDS), effects.get(schema.COST_USD)
    ratio, price = (one and one["ratio"] for one in (time, cost))
    found = []
    if ratio:
        longer = f"{ratio:.2g}x as long" if ratio >= 1 else f"{1 / ratio:.2g}x as fast"
        found.append("about as long" if 1 / _ALIKE <= ratio <= _ALIKE else longer)
    if cost and price and not (ratio and 1 / _ALIKE <= price / ratio <= _ALIKE):
        sums = [describe_cost(cost[side]) for side in ("left", "right")]
        found += [] if sums[0] == sums[1] else [f"cost {sums[0]} -> {sums[1]}"]
    return found


def _incomplete(view: Mapping[str, Any]) -> list[str]:
    runs = (view["left"], view["right"])
    return [f"{run['short']} has not completed" for run in runs if run["completed_at"] is None]


def _some(parts: Sequence[str], what: str) -> list[str]:
    more = len(parts) - _MANY
    return [*parts[:_MANY], *([f"{more} more {what}{'s' if more > 1 else ''}"] if more > 0 else [])]


def _shown(value: str | None) -> str:
    return "none" if value is None else value if len(value) <= 40 else f"{value[:37]}..."


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
