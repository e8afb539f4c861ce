"""Collect the state of a training loop from live objects and restore it exactly.

torch and NumPy are used only when something else has imported them.
"""

import random
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mlflow_plugin.checkpoints.encoding import can_encode
from mlflow_plugin.checkpoints.holders import as_phase_error, holder
from mlflow_plugin.checkpoints.restoring import Restoring
from mlflow_plugin.errors import PhaseError


def capture_random_state() -> dict[str, Any]:
    """Return the states of the global random generators: Python's, and NumPy's and torch's (CPU, CUDA) if imported."""
    captured: dict[str, Any] = {"python": random.getstate()}
    if "numpy" in sys.modules:
        import numpy as np

        captured["numpy"] = np.random.get_state(legacy=False)
    if "torch" in sys.modules:
        import torch

        captured["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            captured["cuda"] = torch.cuda.get_rng_state_all()
    return captured


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Restore the global random generators. States of GPUs that this machine does not have are skipped.

    Args:
        state: The result of `capture_random_state`.

    Raises:
        PhaseError: `state` has another form.
    """
    with as_phase_error("The saved random state cannot be restored", "Start from the beginning to have exact results."):
        random.setstate(state["python"])
        if "numpy" in state:
            import numpy as np

            np.random.set_state(state["numpy"])
        if "torch" in state:
            import torch

            torch.set_rng_state(state["torch"])
            device_count = torch.cuda.device_count() if "cuda" in state else 0
            for device, cuda_state in enumerate(state.get("cuda", [])[:device_count]):
                torch.cuda.set_rng_state(cuda_state, device)


def collect(state: Mapping[str, object]) -> dict[str, Any]:
    """Collect from live objects the state that `save_state` can write.

    Args:
        state: Name -> an object with `state_dict()` (model, optimizer, scheduler, scaler), a random generator, a
            tensor, an array, a plain value, or dictionaries, lists and tuples of these.

    Returns:
        The same keys with `state_dict()` of each object and the state of each generator. Tensors and arrays are not
        copied: save them before training changes them.

    Raises:
        PhaseError: A value can neither be saved nor restored. The message names its key path.
    """
    return {key: _collected(value, key) for key, value in state.items()}


def restore(state: Mapping[str, object], saved: Mapping[str, Any], identity: Mapping[str, Any] | None = None) -> None:
    """Restore a saved state into the live objects that it was collected from, in place.

    Tensors, containers and objects share memory afterwards exactly where they did when the state was saved.

    Args:
        state: The live objects by name, as given to `collect`. Tensors, arrays, dictionaries and lists are filled in
            place. A plain value is assigned to its key, so `state` must then be a mutable mapping.
        saved: The result of `collect`, as `load_state` returned it.
        identity: What `identity.Beginning` recorded when it was saved. Without it two names of one object are taken for
            one object.

    Raises:
        PhaseError: The two have different keys, types, shapes or dtypes. The message names the key.
    """
    if set(state) != set(saved):
        different = ", ".join(sorted(map(str, set(state) ^ set(saved))))
        raise PhaseError(
            f"The checkpoint and the script do not keep the same state: {different} is only in one of them. Start from "
            "the beginning, or go back to the script that saved it."
        )
    Restoring(state, saved, identity).run()


def _collected(value: Any, path: str) -> Any:
    get_and_put = holder(value)
    if get_and_put:
        return get_and_put[0]()
    if type(value) is OrderedDict:
        ordered = OrderedDict((key, _collected(item, f"{path}.{key}")) for key, item in value.items())
        if hasattr(value, "_metadata"):
            ordered._metadata = value._metadata  # type: ignore[attr-defined]
        return ordered
    if isinstance(value, dict):
        return {key: _collected(item, f"{path}.{key}") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_collected(item, f"{path}.{index}") for index, item in enumerate(value))
    if not can_encode(value):
        raise PhaseError(
            f"The state at {path} can neither be saved nor restored: it is a {type(value).__qualname__}. Use an "
            "object with state_dict() and load_state_dict(), a tensor, an array, or plain values in lists and dicts."
        )
    return value
