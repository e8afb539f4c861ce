"""Disks that are full, folders that are closed, servers that die or cannot be reached: no progress is lost."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.nightly.faults import outages
from tests.nightly.faults.training import Reference, Training
from tests.servers.proxy import Proxy
from tests.servers.stores import Store

pytestmark = pytest.mark.end_to_end


def test_a_disk_that_fills_up_in_the_middle_of_a_file_costs_no_earlier_checkpoint(
    stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = Training(stores("local"), tmp_path, reference("local", width=outages.WIDE), width=outages.WIDE)
    assert outages.no_file_may_grow(training).startswith("ended with a message")
    assert "File too large" in training.executions[0].text


@pytest.fixture
def on_the_disk() -> str:
    """Return the folder that lies on the small disk: that of the artifacts and of the database."""
    return ""


@pytest.fixture
def room() -> int:
    """Return the bytes that are left on the disk."""
    return 0


@pytest.fixture
def small_store(on_the_disk: str, tmp_path: Path, empty_database: Path) -> Iterator[tuple[Store, Path]]:
    """A local store with a small disk: for its artifacts, or for its database as well; and that disk's folder."""
    from tests.servers.stores import open_store

    disk = tmp_path / "store" / on_the_disk
    with outages.small_disk(disk, 64) as mounted:
        if not mounted:
            pytest.skip("mounting a small disk takes more rights than this process has")
        with open_store("local", tmp_path / "store", empty_database) as store:
            yield store, disk


def test_a_full_disk_costs_no_earlier_checkpoint(
    room: int, small_store: tuple[Store, Path], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    store, disk = small_store
    training = Training(store, tmp_path / "work", reference("local", width=outages.WIDE), width=outages.WIDE)
    assert outages.full_disk(training, disk, room).startswith("ended with a message")
    assert re.search(r"No space left on device|database or disk is full|disk I/O error", training.executions[0].text)


def test_a_folder_that_may_not_be_written_to_any_more_costs_no_earlier_checkpoint(
    stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = Training(stores("local"), tmp_path, reference("local"))
    assert outages.permission_lost(training).startswith("ended with a message")
    assert "Permission denied" in training.executions[0].text


@pytest.fixture
def server() -> str:
    """Return the kind of store with a tracking server; tests/nightly has the other."""
    return "server"


def test_a_server_that_is_killed_and_restarted_costs_nothing(
    server: str, stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = Training(stores(server), tmp_path, reference(server, counting=True))
    outcome = outages.server_killed(training, Random(server))
    assert outcome == "went on by itself", training.executions[0].text[-3000:]


@pytest.fixture
def cut_off(stores: Callable[[str], Store]) -> Iterator[Callable[[str], tuple[Store, Proxy]]]:
    """A function that gives a store behind a proxy, and the proxy."""
    opened: list[Proxy] = []

    def of(name: str) -> tuple[Store, Proxy]:
        opened.append(Proxy(stores(name).remote_port))
        return stores(name).through(opened[-1]), opened[-1]

    yield of
    for proxy in opened:
        proxy.close()


@pytest.fixture
def name() -> str:
    """Return the kind of store; tests/nightly has every other one."""
    return "server"


def test_a_store_that_is_unreachable_for_a_while_costs_nothing(
    name: str,
    cut_off: Callable[[str], tuple[Store, Proxy]],
    reference: Callable[..., Reference],
    tmp_path: Path,
) -> None:
    store, proxy = cut_off(name)
    assert outages.unreachable(Training(store, tmp_path, reference(name)), proxy, 1.5) == "went on by itself"
