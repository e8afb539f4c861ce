"""Damaged checkpoints are skipped and never loaded. tests/nightly does each damage alone on every store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.nightly.faults import damage
from tests.nightly.faults.training import Reference
from tests.servers.stores import Store

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def store_kind() -> str:
    return "local"


def test_every_kind_of_damage_is_noticed_and_passed_over(
    store_kind: str, stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    assert damage.every_kind(stores(store_kind), tmp_path, reference(store_kind, steps=damage.STEPS)).endswith(
        "from step 2"
    )


def test_without_a_sound_checkpoint_the_training_begins_anew(
    stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path, reference("local", steps=damage.STEPS))
    files = training.store.files(training.last.run_id)
    for step in range(1, damage.STEPS):
        damage.DAMAGES["a bit of the state flipped"](files, damage.checkpoint(step))
    training.announced = 0
    assert min(training.finish().steps) == 0


def test_a_damaged_file_that_checkpoints_share_spoils_all_that_need_it_and_no_other(
    stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path, reference("local", steps=damage.STEPS))
    files = training.store.files(training.last.run_id)
    needed = {step: damage.needed_files(files, step) for step in range(1, damage.STEPS)}
    newest = damage.STEPS - 1
    (shared, *_) = needed[newest] - {path for path in needed[newest] if path.startswith(damage.checkpoint(newest))}
    files.write(shared, damage.flipped(files.read(shared)))
    training.announced = max((step for step, paths in needed.items() if shared not in paths), default=0)
    left = training.announced
    assert min(training.finish().steps) == left


def test_a_checkpoint_of_another_model_is_refused_and_nothing_is_computed(
    stores: Callable[[str], Store], reference: Callable[..., Reference], tmp_path: Path
) -> None:
    training = damage.interrupted(stores("local"), tmp_path / "own", reference("local", steps=damage.STEPS))
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
