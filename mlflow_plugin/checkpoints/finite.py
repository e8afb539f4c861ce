"""After a breakdown: the newest checkpoint from before it. Weights may have broken a step before the loss showed it,
and were saved in between.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_sound
from mlflow_plugin.store.run import PhaseRun


def newest_finite(
    runs: Iterable[PhaseRun], remember: Callable[[str, str, str], None]
) -> tuple[LoadedCheckpoint | None, list[str]]:
    """The newest sound checkpoint whose tensors and arrays are finite, and why newer ones are not good, one sentence
    each.

    `runs` are a run, the one that it had gone on from, and so on. The others are remembered as bad, as `newest_sound`
    does with damaged ones, so that nobody goes on from them; not so when none is finite, since what is in every
    checkpoint may well be meant. Raises PhaseError when a store does not answer.
    """
    broken: list[tuple[str, str, str]] = []
    for run in runs:
        while not isinstance(found := newest_sound([run], remember), list):
            if not (where := not_finite(found.state)):
                for run_id, name, why in broken:
                    remember(run_id, name, why)
                return found, [f"{name}: {why}" for _, name, why in broken]
            why = f"{where} is not finite"
            broken.append((run.run_id, found.name, why))
            run = replace(run, bad_checkpoints={**run.bad_checkpoints, found.name: why})
    return None, [f"{name}: {why}" for _, name, why in broken]


def not_finite(value: Any, path: str = "state") -> str:
    """The path of the first tensor or array in a nested state that training has broken, empty when there is none.

    Broken is what has a NaN, or, with more than one element, a positive infinity: a single one is how the lowest value
    so far begins, and negative ones are masks. Plain numbers are not looked at, for the same reason.
    """
    if isinstance(value, dict):
        parts = ((item, f"{path}.{key}") for key, item in value.items())
    elif isinstance(value, list | tuple):
        parts = ((item, f"{path}.{index}") for index, item in enumerate(value))
    else:
        return path if _is_broken(value) else ""
    return next((found for item, where in parts if (found := not_finite(item, where))), "")


def _is_broken(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "is_floating_point"):
        if not (value.is_floating_point() or value.is_complex()):
            return False
        # Eight-bit floats can do little but be converted.
        numbers = value.float() if value.is_floating_point() and value.element_size() == 1 else value
        several = numbers.numel() > 1 and not numbers.is_complex()
        return bool(numbers.isnan().any()) or (several and bool(numbers.isposinf().any()))
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None and value.dtype.kind in "fc":
        several = value.size > 1 and value.dtype.kind == "f"
        return bool((value != value).any()) or (several and bool((value == float("inf")).any()))
    return False
