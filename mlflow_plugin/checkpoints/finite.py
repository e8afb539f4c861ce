"""Find the newest checkpoint without NaN or infinity after a training diverged.

Weights may become non-finite one step before the loss does, and a checkpoint may be saved in between.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_verified
from mlflow_plugin.store.run import PhaseRun


def newest_finite(
    runs: Iterable[PhaseRun], remember: Callable[[str, str, str], None]
) -> tuple[LoadedCheckpoint | None, list[str]]:
    """Find the newest checkpoint that verifies and whose tensors and arrays are finite.

    Args:
        runs: A run, the run that it resumed from, and so on.
        remember: Called with (run id, checkpoint name, reason) for each checkpoint that is newer and not finite, so
            that no run resumes from it. Not called when no checkpoint is finite: a value that is in all of them may be
            intended. Damaged checkpoints are reported as in `newest_verified`.

    Returns:
        The checkpoint, None when there is none, and one sentence for each newer checkpoint that was rejected.

    Raises:
        PhaseError: A store does not answer.
    """
    rejected: list[tuple[str, str, str]] = []
    for run in runs:
        while not isinstance(candidate := newest_verified([run], remember), list):
            if not (path := not_finite(candidate.state)):
                for run_id, name, reason in rejected:
                    remember(run_id, name, reason)
                return candidate, [f"{name}: {reason}" for _, name, reason in rejected]
            reason = f"{path} is not finite"
            rejected.append((run.run_id, candidate.name, reason))
            run = replace(run, bad_checkpoints={**run.bad_checkpoints, candidate.name: reason})
    return None, [f"{name}: {reason}" for _, name, reason in rejected]


def not_finite(value: Any, path: str = "state") -> str:
    """Return the key path of the first tensor or array in a nested state that has diverged.

    A tensor or array has diverged when it contains a NaN, or when it has more than one element and contains a positive
    infinity. A single infinity is a common start value of "lowest so far", and negative infinities are masks. Plain
    numbers are not checked, for the same reason.

    Args:
        value: Nested dictionaries, lists and tuples of torch tensors or NumPy arrays of any shape, dtype and device.
        path: The key path of `value` itself.

    Returns:
        The key path, such as `state.model.weight`, empty when all values are finite.
    """
    if isinstance(value, dict):
        items = ((item, f"{path}.{key}") for key, item in value.items())
    elif isinstance(value, list | tuple):
        items = ((item, f"{path}.{index}") for index, item in enumerate(value))
    else:
        return path if _has_diverged(value) else ""
    return next((diverged for item, item_path in items if (diverged := not_finite(item, item_path))), "")


def _has_diverged(value: Any) -> bool:
    if type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "is_floating_point"):
        if not (value.is_floating_point() or value.is_complex()):
            return False
        # torch implements few operations for eight-bit floats: convert them first.
        numbers = value.float() if value.is_floating_point() and value.element_size() == 1 else value
        several = numbers.numel() > 1 and not numbers.is_complex()
        return bool(numbers.isnan().any()) or (several and bool(numbers.isposinf().any()))
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None and value.dtype.kind in "fc":
        several = value.size > 1 and value.dtype.kind == "f"
        return bool((value != value).any()) or (several and bool((value == float("inf")).any()))
    return False
