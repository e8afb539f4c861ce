"""The state of a training loop: collected from live objects, and put back exactly.

torch and NumPy are looked at only when something else has imported them.
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
    """State of the global random generators, as far as imported: Python's, NumPy's, torch's on CPU and CUDA."""
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
    """Put the global random generators back. GPUs beyond those that are here now are passed over.

    Raises PhaseError when the state is not one that `capture_random_state` gave.
    """
    with explained("The saved random state cannot be restored", "Start from the beginning to have exact results."):
        random.setstate(state["python"])
        if "numpy" in state:
            import numpy as np

            np.random.set_state(state["numpy"])
        if "torch" in state:
            import torch

            torch.set_rng_state(state["torch"])
            here = torch.cuda.device_count() if "cuda" in state else 0
            for device, cuda_state in enumerate(state.get("cuda", [])[:here]):
                torch.cuda.set_rng_state(cuda_state, device)


def collect(state: Mapping[str, object]) -> dict[str, Any]:
    """What `save_state` can save of live objects, by the same keys.

    Objects with `state_dict()` give that (models, optimizers, schedulers, scalers), random generators their state;
    plain values,
    tensors, arrays, dictionaries and lists, of such objects too, give themselves: save before they change.
    Raises PhaseError naming a value that can neither be saved nor restored.
    """
    return {key: _collected(value, key) for key, value in state.items()}


def restore(state: Mapping[str, object], saved: Mapping[str, Any]) -> None:
    """Put a saved state back into the live objects it was collected from, in place.

    Tensors, arrays, dictionaries and lists are filled; a plain value is assigned to its key, so `state` must then be
    a dictionary that the caller looks at. Raises PhaseError naming the key when the two do not fit.
    """
    if set(state) != set(saved):
        different = ", ".join(sorted(map(str, set(state) ^ set(saved))))
        raise PhaseError(
            f"The checkpoint and the script do not keep the same state: {different} is only in one. Start from the "
            "beginning, or go back to the script that saved it."
        )
    for key, live in state.items():
        restored = _restored(live, saved[key], key)
        if restored is not live:
            if not isinstance(state, MutableMapping):
                raise PhaseError(f"The state at {key} is a plain value that cannot be set. Pass the state as a dict.")
            state[key] = restored


def _holder(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """How to get and set the state of an object that keeps its own, None for other values."""
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
            f"The state at {path} can neither be saved nor restored: it is a {type(value).__qualname__}. Give an "
            "object with state_dict() and load_state_dict(), a tensor, an array, or plain values in lists and dicts."
        )
    return value


def _restored(live: Any, saved: Any, path: str) -> Any:
    """What shall stand where `live` stands: `live` itself, filled, wherever it can be filled."""
    holder = _holder(live)
    with explained(f"The checkpoint does not fit the state at {path}", "Start from the beginning."):
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
            f"The checkpoint has {len(saved)} states for the {len(live)} at {path}. Start from the beginning."
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
            f"{tuple(saved.shape)} of {saved.dtype} was saved, {tuple(live.shape)} of {live.dtype} is here"
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
def explained(what: str, advice: str) -> Iterator[None]:
    """Turns whatever other libraries raise here into one message."""
    try:
        yield
    except PhaseError:
        raise
    except ImportError as error:
        raise PhaseError(f"{what}: {error}. Install mlflow-phases[torch].") from error
    except Exception as error:
        raise PhaseError(f"{what} ({type(error).__name__}: {error}). {advice}") from error
