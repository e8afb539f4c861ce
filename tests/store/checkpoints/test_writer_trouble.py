"""Two saves close together: what is being written must not change under the writer's hands."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mlflow_plugin.checkpoints.files import load_state
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.store.manifest import Manifest
from tests.servers.process import wait_until


class SlowStore(CheckpointStore):
    """Commits step 1 once step 2 was handed over, and lets step 2 be written once step 3 was tried."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.second_handed_over, self.third_tried = threading.Event(), threading.Event()

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        if name == "step-000002":
            assert self.third_tried.wait(30)
        with super().staging(name) as folder:
            yield folder

    def commit(self, name: str, manifest: Manifest) -> None:
        if name == "step-000001":
            assert self.second_handed_over.wait(30)
        super().commit(name, manifest)


def test_a_copy_that_is_not_written_yet_is_not_overwritten_by_the_next_state(tmp_path: Path) -> None:
    store, saved, state = SlowStore(tmp_path), [], {"weights": torch.ones(4)}
    writer = CheckpointWriter(store, lambda name, *_: saved.append(name), lambda name: None, "train")
    writer.save(state, 1, {})
    state["weights"].fill_(2)
    writer.save(state, 2, {})
    store.second_handed_over.set()
    wait_until(lambda: "step-000001" in saved, "step 1 is saved")

    state["weights"].fill_(3)
    third = threading.Thread(target=writer.save, args=(state, 3, {}))
    third.start()
    third.join(0.5)  # it has to wait for step 2, so this passes only by the clock
    store.third_tried.set()
    third.join(30)
    writer.flush()

    held = {step: load_state(tmp_path / "checkpoints" / f"step-00000{step}")["weights"] for step in (1, 2, 3)}
    assert {step: values.tolist() for step, values in held.items()} == {step: [float(step)] * 4 for step in (1, 2, 3)}
