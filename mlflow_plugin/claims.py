"""Which of several runs that start the same thing at the same time may compute it. Pure: no store, no clock.

Lamport's bakery (L. Lamport, "A new solution of Dijkstra's concurrent programming problem", CACM 17, 1974): it asks of
the store only that each run can write a value of its own and read those of the others. No lock, no compare-and-set.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

CHOOSING = "choosing"
WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Claim:
    """What a run has written of its claim: a number, or None while it is choosing one."""

    run_id: str
    number: int | None


def claim_number(value: str) -> int | None:
    """The number in a claim's written value; None while it is being chosen, or when the value cannot be read."""
    return int(value) if value.isascii() and value.isdigit() else None


def contend(run_id: str) -> Generator[str | None, Sequence[Claim], str]:
    """Carries a run through the choice. Returns the id of the run that comes first: its own when it may compute.

    Yields a text that is to be written as the run's claim, or None to be sent the claims of all other live runs as
    they are now. They may be read one after the other, but only after all that was yielded before is written. A second
    None in a row means that somebody is still choosing: it pays to pause before the next look.
    """
    yield CHOOSING
    taken = yield None
    number = 1 + max((claim.number or 0 for claim in taken), default=0)
    yield str(number)
    while True:
        rivals = yield None
        ahead = [(rival.number, rival.run_id) for rival in rivals if rival.number is not None]
        # Two may have chosen the same number; their ids then decide.
        number_first, first = min(ahead, default=(number, run_id))
        if (number_first, first) < (number, run_id):
            return first
        if all(rival.number is not None for rival in rivals):
            return run_id
