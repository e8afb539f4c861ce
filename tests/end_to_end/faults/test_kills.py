"""Killed at whatever moment while it saves or restores, a phase loses nothing and loads nothing bad."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.nightly.faults.kills import Tally, kill_trial
from tests.nightly.faults.training import Twin
from tests.servers.stores import STORES, Store

pytestmark = pytest.mark.end_to_end

KILLED_TRAININGS = {"local": 5, "server": 2, "s3": 2, "server-s3": 1}


@pytest.mark.parametrize("name", STORES)
def test_a_training_that_is_killed_at_any_moment_goes_on_from_its_newest_checkpoint(
    name: str, stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    uninterrupted, tally = twin(name, counting=True), Tally()
    for number in range(KILLED_TRAININGS[name]):
        kill_trial(stores(name), tmp_path / str(number), uninterrupted, Random(f"{name}-{number}"), tally)
    assert tally.trials == KILLED_TRAININGS[name]
    assert sum(tally.kills.values()) > 0
