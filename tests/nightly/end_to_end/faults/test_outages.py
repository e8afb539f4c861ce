"""Full disks of other kinds, and outages of the other remote stores.

Cheaper siblings: the tests of the same names in tests/end_to_end/faults/test_outages.py, with one disk and one server.
"""

import pytest

from tests.end_to_end.faults import test_outages
from tests.nightly.repeated import repeated

DISKS = {"artifacts, nothing left": ("artifacts", 0), "artifacts, 2 MB left": ("artifacts", 2_000_000)}
DISKS |= {"database as well, 2 MB left": ("", 2_000_000)}

globals().update(repeated(test_outages, "room", "name", "server"))


@pytest.fixture(params=DISKS.values(), ids=DISKS)
def disk_of_test(request: pytest.FixtureRequest) -> tuple[str, int]:
    folder, room = request.param
    return folder, room


@pytest.fixture
def on_the_disk(disk_of_test: tuple[str, int]) -> str:
    return disk_of_test[0]


@pytest.fixture
def room(disk_of_test: tuple[str, int]) -> int:
    return disk_of_test[1]


@pytest.fixture(params=["s3", "server-s3"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> str:
    return "server-s3"
