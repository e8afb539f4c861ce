"""Give the tensors and arrays of a checkpoint their memory in the live state: that of the script's own, or new one."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_plugin.checkpoints.holders import as_phase_error
from mlflow_plugin.checkpoints.identity import Path, dotted
from mlflow_plugin.checkpoints.sharing import Ranges, View, fill, memory_for, overlapping, placed, view_of
from mlflow_plugin.errors import PhaseError

ADVICE = "Start from the beginning."


@dataclass
class Site:
    """A place of the state that holds a tensor or array.

    Attributes:
        path: The keys and indices that lead to it.
        saved: Its numbers in the checkpoint.
        live: The tensor or array that the script has there, None when it has none.
        owner: The object that keeps it in its own state and has loaded it, None for one that the state holds itself.
    """

    path: Path
    saved: Any
    live: Any
    owner: Any = None


class Placement:
    """Place the tensors and arrays of one state. Use it once.

    Args:
        originals: Path -> the tensor or array from the beginning of the script that stood there when it was saved.
        recorded: Whether it was recorded which parts of the state were one object.
    """

    def __init__(self, originals: Mapping[Path, Any], *, recorded: bool) -> None:
        self._originals, self._recorded = originals, recorded
        self._owned = Ranges()
        self._placed: dict[Path, Any] = {}

    def place(self, sites: list[Site]) -> dict[Path, Any]:
        """Return the tensor or array that belongs at the path of each site, filled.

        Raises:
            PhaseError: An object that keeps some of them shares memory otherwise than when it was saved.
        """
        # A loaded object has written already. Of the others the largest can hold those that are parts of it.
        sites.sort(key=lambda site: (site.owner is None, site.path not in self._originals, -int(site.saved.nbytes)))
        order = {id(site): number for number, site in enumerate(sites)}
        views = [(site, view) for site in sites if (view := view_of(site.saved)) is not None]
        for group in sorted(overlapping(views), key=lambda group: order[id(group[0][0])]):
            self._place_group(group)
        for site in sites:
            if view_of(site.saved) is None and site.owner is None:
                self._placed[site.path] = site.saved if site.live is None else site.live
        return self._placed

    def _place_group(self, group: list[tuple[Site, View]]) -> None:
        """Place tensors that share memory."""
        for site, view in group:
            for live in self._candidates(site):
                if (places := self._places(live, view, group)) is not None:
                    self._settle(group, places)
                    return
        for site, _ in group:
            if site.owner is not None:
                self._check_owner(site, group)
        free = [site for site, _ in group if site.owner is None]
        devices = [str(site.live.device) for site in free if hasattr(site.live, "copy_")] or ["cpu"]
        if len(group) == 1 or devices[0] == "cpu":
            for site in free:
                if not self._recorded and equal(site.live, site.saved):
                    self._placed[site.path] = site.live  # It was filled through the memory that it shares.
                    continue
                self._placed[site.path] = site.saved.to(devices[0]) if hasattr(site.saved, "copy_") else site.saved
            return
        memory, distance = memory_for([view for _, view in group], devices[0])
        self._settle(group, [placed(memory, view.shifted(distance)) for _, view in group])

    def _candidates(self, site: Site) -> Iterator[Any]:
        """Yield the live tensors whose memory may become that of a saved one, the best first."""
        first = self._originals.get(site.path)
        if is_numbers(first) and form(first) == form(site.saved):
            yield first
        if site.live is not None and view_of(site.live) is not None:
            yield site.live

    def _places(self, live: Any, of_live: View, group: list[tuple[Site, View]]) -> list[Any] | None:
        """Return the tensors of a group in the memory of a live one, None when they do not fit there.

        Args:
            live: The tensor or array that the script has.
            of_live: The view of the saved one that belongs to it.
            group: The saved ones that share memory.
        """
        view = view_of(live)
        if view is None or self._owned.overlaps(view):
            return None
        if all(other == of_live for _, other in group):
            return [live] * len(group)
        if (view.strides, view.conjugate, view.negative) != (of_live.strides, of_live.conjugate, of_live.negative):
            return None
        places = [placed(live, other.shifted(view.address - of_live.address)) for _, other in group]
        return None if any(place is None for place in places) else places

    def _settle(self, group: list[tuple[Site, View]], places: list[Any]) -> None:
        """Fill the places and let the state refer to them."""
        for (site, _), place in zip(group, places, strict=True):
            mine, theirs = view_of(site.live), view_of(place)
            same = mine is not None and mine == theirs
            if site.owner is None:
                with as_phase_error(f"The checkpoint does not fit the state at {dotted(site.path)}", ADVICE):
                    fill(place, site.saved)
                self._placed[site.path] = site.live if same else place
            elif not same and _ties_weights(site.owner):
                raise _untied(site, group)
        for place in places:
            if (view := view_of(place)) is not None:
                self._owned.add(view)

    def _check_owner(self, site: Site, group: list[tuple[Site, View]]) -> None:
        """Refuse an object that has written through memory that another part of the state has, too."""
        view = view_of(site.live)
        if view is None:
            return
        if not self._owned.overlaps(view):
            if len(group) > 1 and _ties_weights(site.owner):
                raise _untied(site, group)
            self._owned.add(view)
        elif self._recorded or not equal(site.live, site.saved):
            raise PhaseError(
                f"The checkpoint does not fit the state at {dotted(site.path)}: in the script it shares its memory "
                "with another part of the state, and in the checkpoint it does not. Let the script begin with a copy, "
                "such as copy.deepcopy(model), or with None until there is one."
            )


def is_numbers(value: object) -> bool:
    """Return whether a value is a tensor or an array."""
    torch, np = sys.modules.get("torch"), sys.modules.get("numpy")
    return (torch is not None and isinstance(value, torch.Tensor)) or (np is not None and isinstance(value, np.ndarray))


def form(numbers: Any) -> tuple[Any, ...]:
    """Return what two tensors or arrays must have in common to take each other's numbers."""
    return hasattr(numbers, "copy_"), tuple(numbers.shape), numbers.dtype


def equal(one: Any, other: Any) -> bool:
    """Return whether two saved states hold the same values."""
    if is_numbers(one) and is_numbers(other):
        if form(one) != form(other):
            return False
        return bool(one.equal(other.to(one.device))) if hasattr(one, "copy_") else bool((one == other).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(equal(*pair) for pair in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _ties_weights(owner: Any) -> bool:
    """Return whether a part that is shared inside an object, or not, changes what training does with it."""
    return hasattr(owner, "named_parameters")


def _untied(site: Site, group: list[tuple[Site, View]]) -> PhaseError:
    others = ", ".join(dotted(other.path) for other, _ in group if other is not site)
    return PhaseError(
        f"The checkpoint does not fit the state at {dotted(site.path)}: it shared its memory with {others} when it was "
        "saved, and does not in the script. Tie them before the loop begins."
    )
