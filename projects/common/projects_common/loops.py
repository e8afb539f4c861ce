"""Type what a phase hands to the work it starts, so that the work does not depend on the phase."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Yields the items of a loop and shows how far it is."""

    def __call__(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterable[T]: ...


class Loop(Protocol):
    """Runs loops that show how far they are, steps that are checkpointed and resumed, and logs metrics."""

    def progress(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterable[T]: ...

    def steps(self, total: int, state: Mapping[str, Any], *, description: str = "") -> Iterator[int]: ...

    def log(
        self, values: Mapping[str, float] | None = None, /, *, step: int | None = None, **metrics: float
    ) -> None: ...


def unshown(items: Iterable[T], total: int | None = None, description: str = "") -> Iterable[T]:
    """Return the items as they are: the progress of a caller that shows none."""
    return items
