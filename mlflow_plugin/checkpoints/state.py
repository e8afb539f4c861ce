"""Collect the state of a training loop from live objects and restore it exactly.

torch and NumPy are used only when something else has imported them.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from mlflow_plugin.checkpoints.encoding import can_encode
from mlflow_plugin.errors import PhaseError

_SAVE_AND_LOAD = (("state_dict", "load_state_dict"), ("get_state", "set_state"), ("getstate", "setstate"))


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


def restore(state: Mapping[str, object], saved: Mapping[str, Any]) -> None:
    """Restore a saved state into the live objects that it was collected from, in place.

    Args:
        state: The live objects by name, as given to `collect`. Tensors, arrays, dictionaries and lists are filled in
            place. A plain value is assigned to its key, so `state` must then be a mutable mapping.
        saved: The result of `collect`, as `load_state` returned it.

    Raises:
        PhaseError: The two have different keys, types, shapes or dtypes. The message names the key.
    """
    if set(state) != set(saved):
        different = ", ".join(sorted(map(str, set(state) ^ set(saved))))
        raise PhaseError(
            f"The checkpoint and the script do not keep the same state: {different} is only in one of them. Start from "
            "the beginning, or go back to the script that saved it."
        )
    for key, live in state.items():
        restored = _restored(live, saved[key], key)
        if restored is not live:
            if not isinstance(state, MutableMapping):
                raise PhaseError(f"The state at {key} is a plain value that cannot be set. Pass the state as a dict.")
            state[key] = restored


def _holder(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """Return the getter and the setter of an object's own state, None for other values."""
    generator = getattr(value, "bit_generator", None)  # numpy.random.Generator
    if generator is not None:
        return lambda: generator.state, lambda saved: setattr(generator, "state", saved)
    for get, put in _SAVE_AND_LOAD:
        if callable(getattr(value, get, None)) and callable(getattr(value, put, None)) and not isinstance(value, type):
            return getattr(value, get), getattr(value, put)
    return None


def _collected(value: Any, path: str) -> Any:
    holder = _holder(value)
    if holder:
        return holder[0]()
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


def _restored(live: Any, saved: Any, path: str) -> Any:
    """Return the value that replaces `live`: `live` itself, filled, wherever it can be filled."""
    holder = _holder(live)
    with as_phase_error(f"The checkpoint does not fit the state at {path}", "Start from the beginning."):
        if holder:
            holder[1](saved)
            return live
        if isinstance(live, dict):
            return _filled_dict(live, saved, path)
        if isinstance(live, list | tuple):
            return _filled_sequence(live, saved, path)
        if _is_tensor(live) and _is_tensor(saved):
            return _filled_tensor(live, saved)
        return saved


def _filled_dict(live: dict[Any, Any], saved: dict[Any, Any], path: str) -> dict[Any, Any]:
    for key, item in live.items():
        if key not in saved and _holder(item):
            raise PhaseError(f"The checkpoint has no state for {path}.{key}. Start from the beginning.")
    restored = {
        key: _restored(live[key], item, f"{path}.{key}") if key in live else item for key, item in saved.items()
    }
    live.clear()
    live.update(restored)
    return live


def _filled_sequence(live: Any, saved: Any, path: str) -> Any:
    if len(live) == len(saved):
        pairs = enumerate(zip(live, saved, strict=True))
        restored = [_restored(item, old, f"{path}.{index}") for index, (item, old) in pairs]
    elif any(_holder(item) for item in live):
        raise PhaseError(
            f"The checkpoint has {len(saved)} states for the {len(live)} objects at {path}. Start from the beginning."
        )
    else:
        restored = list(saved)
    if isinstance(live, tuple):
        return tuple(restored)
    live[:] = restored
    return live


def _filled_tensor(live: Any, saved: Any) -> Any:
    if live.shape != saved.shape or live.dtype != saved.dtype:
        raise ValueError(
            f"the checkpoint has shape {tuple(saved.shape)} and dtype {saved.dtype}, "
            f"the script has {tuple(live.shape)} and {live.dtype}"
        )
    if hasattr(live, "copy_"):
        live.detach().copy_(saved)
    else:
        live[...] = saved
    return live


def _is_tensor(value: object) -> bool:
    torch, np = sys.modules.get("torch"), sys.modules.get("numpy")
    return (torch is not None and isinstance(value, torch.Tensor)) or (np is not None and isinstance(value, np.ndarray))


@contextmanager
def as_phase_error(problem: str, advice: str) -> Iterator[None]:
    """Convert every exception inside the block into a PhaseError that states the problem, its cause and the advice."""
    try:
        yield
    except PhaseError:
        raise
    except ImportError as error:
        raise PhaseError(f"{problem}: {error}. Install mlflow-phases[torch].") from error
    except Exception as error:
        raise PhaseError(f"{problem} ({type(error).__name__}: {error}). {advice}") from error
