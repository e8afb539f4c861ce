"""A loop that is faster than its store: each checkpoint still holds the state of its own step."""

import threading
from pathlib import Path

import numpy as np
import pytest

from mlflow_plugin.checkpoints import writer as module
from mlflow_plugin.checkpoints.files import load_state
from mlflow_plugin.checkpoints.snapshot import Snapshot
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.store.manifest import Manifest


def test_a_save_waits_for_the_copy_before_it_also_when_an_earlier_one_ends_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_saved, end_first, second_begins, write_second = (threading.Event() for _ in range(4))
    write_snapshot, calls = module.write_snapshot, iter(range(1, 10))

    def held_up(snapshot: Snapshot, folder: Path, name: str, **options: bool) -> object:
        if next(calls) == 2:
            second_begins.set()
            assert write_second.wait(60)
        return write_snapshot(snapshot, folder, name, **options)

    def saved(name: str, manifest: Manifest, stall_seconds: float) -> None:
        if manifest.step == 1:
            first_saved.set()
            assert end_first.wait(60)

    monkeypatch.setattr(module, "write_snapshot", held_up)
    store = CheckpointStore(str(tmp_path))
    writer = CheckpointWriter(store, saved, lambda name: None, "train")
    state = {"weights": np.full(3, 1.0)}

    def save(step: int) -> None:
        state["weights"][:] = step
        writer.save(state, step, {})

    save(1)
    assert first_saved.wait(60)
    save(2)
    end_first.set()
    assert second_begins.wait(60)
    third = threading.Thread(target=save, args=(3,))
    third.start()
    third.join(0.5)  # It has to wait, so all of this passes when all is well.
    write_second.set()
    third.join(60)
    writer.flush()

    for step in (1, 2, 3):
        with store.opened(f"step-00000{step}", store.manifest(f"step-00000{step}")) as folder:
            assert load_state(folder)["weights"].tolist() == [float(step)] * 3
