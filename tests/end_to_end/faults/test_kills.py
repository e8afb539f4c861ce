"""Killed at whatever moment while it saves or restores, a phase loses nothing and loads nothing bad."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.nightly.faults.kills import Tally, kill_trial
from tests.nightly.faults.training import Reference
from tests.servers.stores import Store

pytestmark = pytest.mark.end_to_end

KILLED_TRAININGS = 3


@pytest.fixture
def name() -> str:
    """Return the kind of store; tests/nightly has every other one."""
    return "local"


def test_a_training_that_is_killed_at_any_moment_resumes_from_its_newest_checkpoint(
    name: str, stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    uninterrupted, tally = reference(name, counting=True), Tally()
    for number in range(KILLED_TRAININGS):
        kill_trial(stores(name), tmp_path / str(number), uninterrupted, Random(f"{name}-{number}"), tally)
    assert tally.trials == KILLED_TRAININGS
    assert sum(tally.kills.values()) > 0
