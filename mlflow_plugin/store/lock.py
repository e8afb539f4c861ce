"""Decide which of several runs that start the same work at the same time may compute it. Pure: no store, no clock.

Lamport's bakery algorithm (L. Lamport, "A new solution of Dijkstra's concurrent programming problem", CACM 17, 1974).
It needs a store in which each run can write a value of its own and read those of the others: no lock server and no
compare-and-set, which MLflow's tracking stores do not offer. That is why it is home-made; `docs/duplicate_runs.md` has
the argument, and a test goes through every interleaving of three runs.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

CHOOSING = "choosing"
WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class LockEntry:
    """A run's entry for the lock: its number, or None while the run is still choosing one."""

    run_id: str
    number: int | None


def lock_number(value: str) -> int | None:
    """Return the number in an entry's stored text; None while it is being chosen, or when the text cannot be read."""
    return int(value) if value.isascii() and value.isdigit() else None


def acquire(run_id: str) -> Generator[str | None, Sequence[LockEntry], str]:
    """Compete for the lock and return the id of the run that holds it: the run's own when it may compute.

    A text that is yielded is to be written as the run's entry. After a None, the entries of all other live runs are to
    be sent in, as they are now; they may be read one after the other, but only after everything that was yielded before
    has been written. A second None in a row means that another run is still choosing, so a pause before the next read
    is worthwhile.
    """
    yield CHOOSING
    entries = yield None
    number = 1 + max((entry.number or 0 for entry in entries), default=0)
    yield str(number)
    while True:
        rivals = yield None
        ahead = [(rival.number, rival.run_id) for rival in rivals if rival.number is not None]
        # Two runs may have chosen the same number; their ids then decide.
        number_first, first = min(ahead, default=(number, run_id))
        if (number_first, first) < (number, run_id):
            return first
        if all(rival.number is not None for rival in rivals):
            return run_id
