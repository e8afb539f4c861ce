"""Recognize objects that hand out and take back their own state, and call them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mlflow_plugin.errors import PhaseError

_SAVE_AND_LOAD = (("state_dict", "load_state_dict"), ("get_state", "set_state"), ("getstate", "setstate"))


def holder(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """Return the getter and the setter of an object's own state, None for other values."""
    generator = getattr(value, "bit_generator", None)  # numpy.random.Generator
    if generator is not None:
        return lambda: generator.state, lambda saved: setattr(generator, "state", saved)
    for get, put in _SAVE_AND_LOAD:
        if callable(getattr(value, get, None)) and callable(getattr(value, put, None)) and not isinstance(value, type):
            return getattr(value, get), getattr(value, put)
    return None


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
