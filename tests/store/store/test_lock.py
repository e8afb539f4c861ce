"""The lock that one of several duplicate runs acquires, on a simulated store whose registers are read one by one."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_plugin.store.lock import CHOOSING, WITHDRAWN, LockEntry, acquire, lock_number

IDS = ("a", "b", "c", "d", "e")


class Starter:
    """A run that competes for the lock, one read or write of a register at a time.

    It follows from what it was sent, so that repeating that makes a copy.
    """

    def __init__(self, run_id: str, others: tuple[str, ...], sent: tuple = (), read: tuple = ()) -> None:
        self.run_id, self.others = run_id, others
        self.sent, self.read = sent, read
        self._contest = acquire(run_id)
        self.wants, self.winner = next(self._contest), ""
        for content in sent:
            self._send(content)

    def _send(self, content: tuple) -> None:
        try:
            self.wants = self._contest.send(content)
        except StopIteration as end:
            self.winner = end.value

    def step(self, registers: dict[str, str], alive: set[str]) -> None:
        """Writes its register, or reads the next of the others'."""
        if self.wants is not None:
            registers[self.run_id] = self.wants
            self._next(())
            return
        for other in self.others[len(self.read) : len(self.read) + 1]:
            value = registers.get(other) if other in alive else None
            lock_entry = LockEntry(other, lock_number(value)) if value not in (None, WITHDRAWN) else None
            self.read = (*self.read, lock_entry)
        if len(self.read) == len(self.others):
            self._next(tuple(lock_entry for lock_entry in self.read if lock_entry is not None))

    def _next(self, content: tuple) -> None:
        polled, before = self.wants is None, len(self.sent)
        self._send(content)
        self.read = ()
        # Looking again without a result changes nothing, so that such states are one and the same.
        if not (polled and self.wants is None and not self.winner and before > 2):
            self.sent = (*self.sent, content)

    def state(self) -> tuple:
        return self.sent, self.read


def worlds(count: int, *, crashes: bool) -> Iterator[tuple[dict[str, Starter], set[str]]]:
    """Yield every state that `count` starters can reach, for every order of moves and every crash."""
    ids = IDS[:count]
    fresh = {run_id: Starter(run_id, tuple(other for other in ids if other != run_id)) for run_id in ids}
    pending: list[tuple[dict[str, Starter], dict[str, str], frozenset[str]]] = [(fresh, {}, frozenset(ids))]
    seen = set()
    while pending:
        starters, registers, alive = pending.pop()
        key = tuple((one.state(), registers.get(run_id)) if run_id in alive else () for run_id, one in starters.items())
        if key in seen:
            continue
        seen.add(key)
        yield starters, set(alive)
        for run_id, one in starters.items():
            if run_id not in alive:
                continue
            if crashes:
                pending.append((starters, registers, alive - {run_id}))
            if one.winner:
                continue
            moved, written = Starter(run_id, one.others, one.sent, one.read), dict(registers)
            moved.step(written, set(alive))
            pending.append(({**starters, run_id: moved}, written, alive))


def winners(starters: dict[str, Starter], alive: set[str]) -> list[str]:
    return [run_id for run_id, one in starters.items() if run_id in alive and one.winner == run_id]


@pytest.mark.parametrize(("count", "crashes"), [(1, True), (2, False), (2, True), (3, False), (3, True)])
def test_there_are_never_two_winners_whatever_the_order_of_reads_and_writes_and_whoever_dies(count, crashes):
    ends = 0
    for starters, alive in worlds(count, crashes=crashes):
        assert len(winners(starters, alive)) <= 1
        ends += all(one.winner for run_id, one in starters.items() if run_id in alive)
    assert ends


@pytest.mark.parametrize("count", [2, 3])
def test_when_all_live_one_wins_and_the_others_know_whom_to_wait_for(count):
    for starters, alive in worlds(count, crashes=False):
        if all(one.winner for one in starters.values()):
            assert len(winners(starters, alive)) == 1
            # Each was beaten by one that is ahead of it, so that following them leads to the winner.
            for run_id, one in starters.items():
                passed = {run_id}
                while one.winner != run_id:
                    run_id, one = one.winner, starters[one.winner]
                    assert run_id not in passed
                    passed.add(run_id)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32), st.integers(2, 5), st.floats(0, 0.05))
def test_as_long_as_anybody_lives_the_work_is_taken_up_again_by_exactly_one(seed, count, death):
    """Those who were beaten withdraw, wait for the one before them, and acquire again when it has died."""
    moves = random.Random(seed)
    ids = IDS[:count]
    starters = {run_id: Starter(run_id, tuple(other for other in ids if other != run_id)) for run_id in ids}
    registers: dict[str, str] = {}
    alive = set(ids)
    for _ in range(1500):
        run_id = moves.choice(sorted(alive))
        one = starters[run_id]
        if len(alive) > 1 and moves.random() < death:
            alive.discard(run_id)
        elif one.winner == run_id:
            pass  # It computes.
        elif one.winner:
            if registers[run_id] != WITHDRAWN:
                registers[run_id] = WITHDRAWN
            elif one.winner not in alive or registers[one.winner] == WITHDRAWN:
                starters[run_id] = Starter(run_id, one.others)
        else:
            one.step(registers, alive)
        assert len(winners(starters, alive)) <= 1
    assert len(winners(starters, alive)) == 1


@pytest.mark.parametrize(("value", "number"), [("1", 1), ("17", 17), (CHOOSING, None), ("", None), ("-1", None)])
def test_a_claim_that_cannot_be_read_counts_as_not_yet_chosen(value, number):
    assert lock_number(value) == number
