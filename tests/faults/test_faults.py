"""Whatever happens while a phase saves its state, nothing that can be resumed is lost and nothing bad is loaded. A
short version of `python -m tests.faults`.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.faults import damage, outages
from tests.faults.kills import Tally, kill_trial
from tests.faults.training import Training, Twin, make_twin
from tests.servers.proxy import Proxy
from tests.servers.stores import STORES, Store

pytestmark = pytest.mark.end_to_end

KILLED_TRAININGS = {"local": 5, "server": 2, "s3": 2, "server-s3": 1}
REMOTE = [name for name in STORES if name != "local"]


@pytest.fixture(scope="module")
def twin(stores: Callable[[str], Store], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Twin]:
    """A function that gives the uninterrupted twin of a training on a store."""
    made: dict[tuple[object, ...], Twin] = {}

    def of(name: str, *, counting: bool = False, **parameters: int) -> Twin:
        key = (name if counting else "any", counting, *parameters.items())
        if key not in made:
            made[key] = make_twin(stores(name), tmp_path_factory.mktemp("twin"), counting=counting, **parameters)
        return made[key]

    return of


@pytest.mark.parametrize("name", STORES)
def test_a_training_that_is_killed_at_any_moment_goes_on_from_its_newest_checkpoint(
    name: str, stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    uninterrupted, tally = twin(name, counting=True), Tally()
    for number in range(KILLED_TRAININGS[name]):
        kill_trial(stores(name), tmp_path / str(number), uninterrupted, Random(f"{name}-{number}"), tally)
    assert tally.trials == KILLED_TRAININGS[name]
    assert sum(tally.kills.values()) > 0


@pytest.mark.parametrize("kind", damage.DAMAGES)
def test_a_damaged_checkpoint_is_passed_over(
    kind: str, stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    damage.damaged(stores("local"), tmp_path, twin("local", steps=damage.STEPS), kind)


@pytest.mark.parametrize("name", REMOTE)
def test_every_kind_of_damage_is_noticed_on_a_remote_store(
    name: str, stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    assert damage.every_kind(stores(name), tmp_path, twin(name, steps=damage.STEPS)).endswith("from step 2")


def test_without_a_sound_checkpoint_the_training_begins_anew(
    stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path, twin("local", steps=damage.STEPS))
    files = training.store.files(training.last.run_id)
    for step in range(1, damage.STEPS):
        damage.DAMAGES["a bit of the state flipped"](files, damage.checkpoint(step))
    training.announced = 0
    assert min(training.finish().steps) == 0


def test_a_damaged_file_that_checkpoints_share_spoils_all_that_need_it_and_no_other(
    stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path, twin("local", steps=damage.STEPS))
    files = training.store.files(training.last.run_id)
    needed = {step: damage.needed_files(files, step) for step in range(1, damage.STEPS)}
    newest = damage.STEPS - 1
    (shared, *_) = needed[newest] - {path for path in needed[newest] if path.startswith(damage.checkpoint(newest))}
    files.write(shared, damage.flipped(files.read(shared)))
    training.announced = max((step for step, paths in needed.items() if shared not in paths), default=0)
    left = training.announced
    assert min(training.finish().steps) == left


def test_a_checkpoint_of_another_model_is_refused_and_nothing_is_computed(
    stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path / "own", twin("local", steps=damage.STEPS))
    killed = training.store.files(training.last.run_id)
    damage.put_another_models_checkpoint(stores("local"), tmp_path / "other", training)
    refused = training.start()
    assert refused.wait() == 1
    assert not refused.steps
    assert "does not fit" in refused.text
    assert "Traceback" not in refused.text

    killed.remove(f"{damage.checkpoint(damage.STEPS - 1)}/manifest.json")
    training.announced = damage.STEPS - 2
    assert min(training.finish().steps) == damage.STEPS - 2


def test_a_disk_that_fills_up_in_the_middle_of_a_file_costs_no_earlier_checkpoint(
    stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = Training(stores("local"), tmp_path, twin("local", width=outages.WIDE), width=outages.WIDE)
    assert outages.no_file_may_grow(training).startswith("ended with a message")
    assert "File too large" in training.executions[0].text


@pytest.fixture(params=["artifacts", ""])
def small_store(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Path) -> Iterator[tuple[Store, Path]]:
    """A local store with a small disk: for its artifacts, or for its database as well; and that disk's folder."""
    from tests.servers.stores import open_store

    disk = tmp_path / "store" / request.param
    with outages.small_disk(disk, 64) as mounted:
        if not mounted:
            pytest.skip("mounting a small disk takes more rights than this process has")
        with open_store("local", tmp_path / "store", empty_database) as store:
            yield store, disk


@pytest.mark.parametrize("room", [0, 2_000_000])
def test_a_full_disk_costs_no_earlier_checkpoint(
    room: int, small_store: tuple[Store, Path], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    store, disk = small_store
    training = Training(store, tmp_path / "work", twin("local", width=outages.WIDE), width=outages.WIDE)
    assert outages.full_disk(training, disk, room).startswith("ended with a message")
    assert re.search(r"No space left on device|database or disk is full|disk I/O error", training.executions[0].text)


def test_a_folder_that_may_not_be_written_to_any_more_costs_no_earlier_checkpoint(
    stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = Training(stores("local"), tmp_path, twin("local"))
    assert outages.permission_lost(training).startswith("ended with a message")
    assert "Permission denied" in training.executions[0].text


@pytest.mark.parametrize("name", ["server", "server-s3"])
def test_a_server_that_is_killed_and_restarted_costs_nothing(
    name: str, stores: Callable[[str], Store], twin: Callable[..., Twin], tmp_path: Path
) -> None:
    training = Training(stores(name), tmp_path, twin(name, counting=True))
    assert outages.server_killed(training, Random(name)) == "went on by itself"


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


@pytest.mark.parametrize("name", REMOTE)
def test_a_store_that_is_unreachable_for_a_while_costs_nothing(
    name: str,
    cut_off: Callable[[str], tuple[Store, Proxy]],
    twin: Callable[..., Twin],
    tmp_path: Path,
) -> None:
    store, proxy = cut_off(name)
    assert outages.unreachable(Training(store, tmp_path, twin(name)), proxy, 1.5) == "went on by itself"
