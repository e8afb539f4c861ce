"""Trainings that are killed at any moment, on every remote store.

Cheaper sibling: the test of the same name in tests/end_to_end/faults/test_kills.py, on a local store.
"""

import pytest

from tests.end_to_end.faults import test_kills
from tests.nightly.repeated import repeated
from tests.servers.stores import REMOTE

globals().update(repeated(test_kills, "name"))


@pytest.fixture(params=REMOTE)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)
