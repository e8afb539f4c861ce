"""Record which parts of a state are one object, and which are still the objects that the script began with.

A state that is saved as values alone cannot tell a best-so-far copy from the model that it was copied from: when the
script begins again, both names may stand for the model.
"""

import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from mlflow_plugin.checkpoints.holders import holder
from mlflow_plugin.checkpoints.sharing import overlapping, view_of
from mlflow_plugin.errors import PhaseError

Path = tuple[Any, ...]
"""The keys and indices that lead from a state to one of its parts."""
_PLAIN = (type(None), bool, int, float, str, bytes)
_MAX_DEPTH = 200


def parts(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any, str]]:
    """Yield the path, the part and its kind for each part of a state, from the outside in.

    The kinds are `object` for one with a state of its own, whose inside is not looked at, `container`, `numbers` for
    tensors and arrays, and `other`. Plain values are left out.
    """
    if type(value) in _PLAIN or len(path) > _MAX_DEPTH:
        return
    if holder(value):
        yield path, value, "object"
    elif isinstance(value, dict):
        yield path, value, "container"
        for key, item in value.items():
            yield from parts(item, (*path, key))
    elif type(value) in (list, tuple):
        yield path, value, "container"
        for index, item in enumerate(value):
            yield from parts(item, (*path, index))
    else:
        yield path, value, "numbers" if hasattr(value, "shape") and hasattr(value, "dtype") else "other"


def of_state(state: Mapping[str, Any]) -> Iterator[tuple[Path, Any, str]]:
    """Yield the parts of a whole state, see `parts`."""
    for key, value in state.items():
        yield from parts(value, (key,))


class Beginning:
    """Remember the objects of a state when its loop begins.

    Args:
        state: The live objects by name, before anything is restored into them.
    """

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._keys = set(state)
        self._first: dict[int, tuple[Path, Any]] = {}
        self._objects: set[Path] = set()
        self._numbers: dict[Path, tuple[Any, ...]] = {}
        self._types: dict[Path, type] = {}
        seen: dict[int, int] = {}
        found = list(of_state(state))
        for _, value, _ in found:
            seen[id(value)] = seen.get(id(value), 0) + 1
        views = [(value, view) for _, value, kind in found if kind == "numbers" and (view := view_of(value))]
        sharing = {id(value) for group in overlapping(views) if len(group) > 1 for value, _ in group}
        for path, value, kind in found:
            if kind == "object":
                self._objects.add(path)
            if kind == "container":
                self._types[path] = type(value)
            if kind == "numbers":
                self._numbers[path] = _form(value)
            ambiguous = seen[id(value)] > 1 or id(value) in sharing
            if (kind == "object" or ambiguous) and type(value) is not tuple:
                self._first.setdefault(id(value), (path, _weak(value)))

    def record(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return plain values that say which parts of a state are the objects from the beginning, see `record`.

        Raises:
            PhaseError: A part could not be restored, because the script did not have an object for it at the beginning.
        """
        if set(state) != self._keys:
            different = ", ".join(sorted(map(str, set(state) ^ self._keys)))
            raise PhaseError(
                f"The state cannot be restored later: {different} is only in one of the states that are restored and "
                "saved. Pass the same names to both."
            )
        if not isinstance(state, MutableMapping):
            for key, value in state.items():
                if type(value) in (*_PLAIN, tuple):
                    raise PhaseError(
                        f"The state at {key} cannot be restored later: it is a plain value, and a "
                        f"{type(state).__qualname__} cannot take another one. Pass the state as a dict."
                    )
        found = list(of_state(state))
        originals = [(path, first) for path, value, _ in found if (first := self._original(value)) is not None]
        known = {id(value) for path, value, kind in found if kind == "object" and path in self._objects}
        for path, value, kind in found:
            if kind == "object" and path not in self._objects and self._original(value) is None:
                if id(value) in known or type(self._made_at(path, state)) is type(value):
                    continue
                raise PhaseError(
                    f"The state at {dotted(path)} cannot be restored later: it is a {type(value).__qualname__}, and "
                    "the state did not have one there when the loop began. Put such an object there before the loop, "
                    "or keep what its state_dict() returns."
                )
            if kind == "container" and type(value) not in (dict, OrderedDict, list, tuple):
                self._check_type(path, value, state)
        replaced = [
            path
            for path, value, kind in found
            if kind == "numbers" and self._numbers.get(path, _form(value)) != _form(value)
        ]
        return same_objects(found) | {"original": originals, "replaced": replaced}

    def _original(self, value: Any) -> Path | None:
        path, remembered = self._first.get(id(value), ((), None))
        return path if remembered is not None and remembered() is value else None

    def _check_type(self, path: Path, value: Any, state: Mapping[str, Any]) -> None:
        """Refuse a dictionary of a type of its own that would come back as a plain one."""
        if type(value) in (self._types.get(path), type(self._made_at(path, state))):
            return
        raise PhaseError(
            f"The state at {dotted(path)} cannot be restored later: it is a {type(value).__qualname__}, and would come "
            "back as a plain dictionary. Put one there before the loop, where it is filled in place, or keep a dict."
        )

    @staticmethod
    def _made_at(path: Path, state: Mapping[str, Any]) -> Any:
        """Return what a `defaultdict` of the state would make at a path by itself, None where none is."""
        parent: Any = state
        for key in path[:-1]:
            parent = parent[key]
        return make_missing(parent)


def same_objects(found: list[tuple[Path, Any, str]]) -> dict[str, Any]:
    """Return plain values that say which parts are one object.

    Returns:
        `objects` has the paths of all parts with a state of their own; `same` has lists of paths that lead to one
        object or container.
    """
    by_id: dict[int, list[Path]] = {}
    for path, value, kind in found:
        if kind in ("object", "container") and type(value) is not tuple:
            by_id.setdefault(id(value), []).append(path)
    return {
        "objects": [path for path, _, kind in found if kind == "object"],
        "same": [paths for paths in by_id.values() if len(paths) > 1],
    }


def make_missing(container: Any) -> Any:
    """Return what a `defaultdict` would put at a key that it lacks, None for other containers."""
    factory = getattr(container, "default_factory", None)
    return factory() if isinstance(container, dict) and callable(factory) else None


def dotted(path: Path) -> str:
    """Return a path for a message."""
    return ".".join(map(str, path)) or "its top"


def _weak(value: Any) -> Any:
    """Return a function that returns the object, and keeps it alive only when it cannot be referred to weakly."""
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def _form(value: Any) -> tuple[Any, ...]:
    return type(value).__module__.partition(".")[0], tuple(value.shape), value.dtype
