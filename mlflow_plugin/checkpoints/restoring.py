"""Restore a saved state into live objects so that exactly those parts are shared that were shared when it was saved.

A part is filled in place wherever the script has an object of its own for it, since other variables may refer to that
object too. Memory that two parts share in the script, but not in the checkpoint, is filled for one of them only; the
other one gets new memory.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from mlflow_plugin.checkpoints.holders import as_phase_error, holder
from mlflow_plugin.checkpoints.identity import Path, dotted, make_missing, of_state
from mlflow_plugin.checkpoints.placement import ADVICE, Placement, Site, equal, form, is_numbers
from mlflow_plugin.errors import PhaseError

_MISSING: Any = object()


class Restoring:
    """Restore one saved state. Use it once.

    Args:
        state: The live objects by name.
        saved: The result of `collect`, as `load_state` returned it.
        identity: The result of `Beginning.record` or `same_objects` when it was saved; None for a checkpoint of an
            earlier version, which did not record it.
    """

    def __init__(self, state: Mapping[str, Any], saved: Mapping[str, Any], identity: Mapping[str, Any] | None) -> None:
        self._state, self._saved = state, saved
        self._recorded = identity is not None
        identity = identity or {}
        self._cells: dict[Path, Path] = {path: paths[0] for paths in identity.get("same", ()) for path in paths}
        self._objects = set(identity.get("objects", ()))
        self._replaced = set(identity.get("replaced", ()))
        self._original: dict[Path, Path] = dict(identity.get("original", ()))
        self._live = {path: value for path, value, _ in of_state(state)}
        self._bound: dict[Path, Any] = {}
        self._taken: dict[int, Path] = {}
        self._loaded: dict[Path, Any] = {}
        self._placed: dict[Path, Any] = {}
        self._targets: dict[Path, Any] = {}
        self._made: dict[Path, Any] = {}

    def run(self) -> None:
        """Restore everything. Raises PhaseError when the checkpoint does not fit the live objects."""
        for key, live in self._state.items():
            _grow(live, self._saved[key])
        self._live = {path: value for path, value, _ in of_state(self._state)}
        self._bind_originals()
        self._load_objects()
        sites = list(self._sites_of_objects())
        for key, live in self._state.items():
            sites += self._sites(live, self._saved[key], (key,))
        originals = {path: self._live.get(first) for path, first in self._original.items()}
        self._placed = Placement(originals, recorded=self._recorded).place(sites)
        for key, live in list(self._state.items()):
            restored = self._built(live, self._saved[key], (key,))
            if restored is not live:
                if not isinstance(self._state, MutableMapping):
                    raise PhaseError(
                        f"The state at {key} is a plain value that cannot be set. Pass the state as a dict."
                    )
                self._state[key] = restored

    def _cell(self, path: Path) -> Path:
        """Return the first of the paths that led to the same object when the state was saved."""
        return self._cells.get(path, path)

    def _bind(self, cell: Path, live: Any) -> None:
        self._bound[cell] = live
        self._taken[id(live)] = cell

    def _bind_originals(self) -> None:
        """Let the objects that the script began with stand where they stood when the state was saved."""
        for path, first in self._original.items():
            live = self._live.get(first, _MISSING)
            if live is not _MISSING and not is_numbers(live) and self._cell(path) not in self._bound:
                self._bind(self._cell(path), live)

    # --- objects with a state of their own ---

    def _load_objects(self) -> None:
        """Load the saved states into the objects, each once."""
        for path, live in list(self._live.items()):
            if not holder(live) or (self._recorded and path not in self._objects):
                continue
            saved = _at(self._saved, path)
            if saved is _MISSING:
                continue  # An error, or gone on purpose; decided where its container is filled.
            cell = self._cell(path)
            if cell not in self._bound:
                first = self._taken.get(id(live))
                if first is not None and not self._recorded and equal(_at(self._saved, first), saved):
                    self._cells[path] = first
                    continue
                self._bind(cell, live if first is None else _copied(live, path, first))
            self._load(cell, path)
        for path in self._objects:
            if self._cell(path) in self._bound:
                self._load(self._cell(path), path)

    def _load(self, cell: Path, path: Path) -> None:
        if cell in self._loaded:
            return
        with as_phase_error(f"The checkpoint does not fit the state at {dotted(path)}", ADVICE):
            live = self._loaded[cell] = self._bound[cell]
            put = holder(live)
            if put is None:
                raise TypeError(f"a {type(live).__qualname__} cannot load the state of an object")
            put[1](_at(self._saved, path))

    def _sites_of_objects(self) -> Iterator[Site]:
        """Yield the tensors and arrays of the objects, paired with the saved ones that they were loaded from."""
        for cell, live in self._loaded.items():
            saved = _at(self._saved, cell)
            get = holder(live)
            if get is None or not any(True for _ in _numbers(saved, cell)):
                continue
            now = dict(_numbers(get[0](), cell))
            for path, numbers in _numbers(saved, cell):
                if (mine := now.get(path)) is not None and form(mine) == form(numbers):
                    yield Site(path, numbers, mine, live)

    # --- tensors and arrays ---

    def _sites(self, live: Any, saved: Any, path: Path) -> Iterator[Site]:
        """Yield the tensors and arrays of the state's own containers. Decides which containers are filled in place."""
        cell = self._cell(path)
        if cell in self._loaded:
            return
        if is_numbers(saved):
            if not is_numbers(live):
                live = None
            elif form(live) != form(saved):
                if path not in self._replaced:
                    raise PhaseError(
                        f"The checkpoint does not fit the state at {dotted(path)}: it has shape {tuple(saved.shape)} "
                        f"and dtype {saved.dtype}, the script has {tuple(live.shape)} and {live.dtype}. {ADVICE}"
                    )
                live = None
            yield Site(path, saved, live)
            return
        if not isinstance(saved, dict | list | tuple):
            return
        if cell in self._targets:
            return  # The same container as before.
        target = self._bound.get(cell, live)
        if not self._fits(target, saved, path) or self._taken.get(id(target), cell) != cell:
            target = _MISSING
        elif not isinstance(target, tuple):
            self._bind(cell, target)
        self._targets[cell] = target
        items = saved.items() if isinstance(saved, dict) else enumerate(saved)
        for key, item in items:
            yield from self._sites(_item(target, key, saved), item, (*path, key))

    def _fits(self, live: Any, saved: Any, path: Path) -> bool:
        """Return whether a live container can be filled with a saved one. Raises PhaseError when it must but cannot."""
        if isinstance(saved, dict) and isinstance(live, dict):
            gone = [key for key, item in live.items() if key not in saved and holder(item)]
            if gone and not self._recorded:
                raise PhaseError(f"The checkpoint has no state for {dotted((*path, gone[0]))}. {ADVICE}")
            return type(saved) is dict or isinstance(live, OrderedDict)
        if isinstance(saved, list | tuple) and isinstance(live, list | tuple):
            if len(live) != len(saved) and not self._recorded and any(holder(item) for item in live):
                raise PhaseError(
                    f"The checkpoint has {len(saved)} states for the {len(live)} objects at {dotted(path)}. {ADVICE}"
                )
            return type(live) is type(saved) or not self._recorded
        if isinstance(live, dict | list | tuple) and not self._recorded:
            raise _unfit(live, saved, path)
        return False

    # --- the state itself ---

    def _built(self, live: Any, saved: Any, path: Path) -> Any:
        """Return the value that replaces `live`: `live` itself, filled, wherever it can be filled."""
        cell = self._cell(path)
        if cell in self._loaded:
            return self._loaded[cell]
        if path in self._placed:
            return self._placed[path]
        if path in self._objects:
            raise PhaseError(
                f"The checkpoint has the state of an object at {dotted(path)}, and the script has none there. Put it "
                "there before the loop begins, or start from the beginning."
            )
        if not isinstance(saved, dict | list | tuple):
            if isinstance(live, dict | list | tuple) and not self._recorded:
                raise _unfit(live, saved, path)
            return saved
        if cell not in self._made:
            self._made[cell] = self._container(self._targets[cell], saved, path)
        return self._made[cell]

    def _container(self, target: Any, saved: Any, path: Path) -> Any:
        """Fill a live container, or make one."""
        pairs = saved.items() if isinstance(saved, dict) else enumerate(saved)
        items = {key: self._built(_item(target, key, saved), item, (*path, key)) for key, item in pairs}
        if isinstance(saved, dict):
            target = type(saved)() if target is _MISSING else target
            target.clear()
            target.update(items)
            if isinstance(saved, OrderedDict) and hasattr(saved, "_metadata"):
                target._metadata = saved._metadata
            return target
        if isinstance(target, list):
            target[:] = items.values()
            return target
        return (
            tuple(items.values()) if isinstance(saved if target is _MISSING else target, tuple) else [*items.values()]
        )


def _grow(live: Any, saved: Any) -> None:
    """Let a `defaultdict` make what it lacks, so that it is of the right type and can be filled in place."""
    if isinstance(live, dict) and isinstance(saved, dict):
        for key, item in saved.items():
            if key not in live and (made := make_missing(live)) is not None:
                live[key] = made
            if key in live and not holder(live[key]):
                _grow(live[key], item)
    elif isinstance(live, list | tuple) and isinstance(saved, list | tuple):
        for one, item in zip(live, saved, strict=False):
            if not holder(one):
                _grow(one, item)


def _numbers(value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the tensors and arrays in nested containers with their paths."""
    if is_numbers(value):
        yield path, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(item, (*path, key))


def _item(container: Any, key: Any, saved: Any) -> Any:
    """Return what a live container has at a key of the saved one."""
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    if isinstance(container, list | tuple) and len(container) == len(saved):
        return container[key]
    return _MISSING


def _at(saved: Any, path: Path) -> Any:
    for key in path:
        try:
            saved = saved[key]
        except (LookupError, TypeError):
            return _MISSING
    return saved


def _copied(live: Any, path: Path, first: Path) -> Any:
    """Return a copy of an object that stands at two places of the script and was two objects in the checkpoint."""
    try:
        return copy.deepcopy(live)
    except Exception as error:
        raise PhaseError(
            f"The state at {dotted(path)} is the same object as that at {dotted(first)} in the script, was another one "
            f"in the checkpoint, and cannot be copied ({type(error).__name__}: {error}). Give the state two objects "
            "before the loop begins."
        ) from error


def _unfit(live: Any, saved: Any, path: Path) -> PhaseError:
    return PhaseError(
        f"The checkpoint does not fit the state at {dotted(path)}: it has a {type(saved).__qualname__}, the script has "
        f"a {type(live).__qualname__}. {ADVICE}"
    )
