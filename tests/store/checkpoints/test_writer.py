"""Background saves: the loop waits only for the copy, memory is bounded, and no unfinished checkpoint is visible."""

import errno
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.errors import PhaseError, TakenOverError
from mlflow_plugin.store.manifest import FileEntry, Manifest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


class SlowStore(CheckpointStore):
    """A local store whose commits wait for a gate, and which fails on demand."""

    def __init__(self, folder: Path, *, local: bool = True) -> None:
        super().__init__(str(folder))
        self.gate = threading.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.done: list[str] = []
        self._counts_as_local = local

    @property
    def is_local(self) -> bool:
        return self._counts_as_local

    def publish(self, name: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
        assert self.gate.wait(30)
        if self.failures:
            raise self.failures.pop(0)
        super().publish(name, folder, files)
        assert not (folder / "manifest.json").exists()
        self.done.append(f"files of {name}")

    def commit(self, name: str, manifest: Manifest) -> None:
        super().commit(name, manifest)
        self.done.append(f"manifest of {name}")


@pytest.fixture
def store(tmp_path: Path) -> SlowStore:
    return SlowStore(tmp_path)


def writer_for(
    store: SlowStore, committing: Callable[[str], None] = lambda name: None, patience: float = 20
) -> CheckpointWriter:
    def saved(name: str, manifest: Manifest, stall_seconds: float) -> None:
        store.done.append(f"tag of {name}")

    return CheckpointWriter(store, saved, committing, "train", patience)


def state_of(step: int) -> dict[str, object]:
    return {"x": torch.full((1000,), float(step)), "step": step}


def test_a_checkpoint_is_visible_only_when_it_is_complete(store: SlowStore) -> None:
    writer = writer_for(store)
    writer.save(state_of(1), 1, {"loss": 0.5})
    writer.flush()
    assert store.done == ["files of step-000001", "manifest of step-000001", "tag of step-000001"]
    assert writer.newest == "step-000001"
    assert store.manifest("step-000001").metrics == {"loss": 0.5}


def test_the_loop_continues_while_the_store_is_slow(store: SlowStore) -> None:
    writer = writer_for(store)
    store.gate.clear()
    began = time.monotonic()
    writer.save(state_of(1), 1, {})
    assert time.monotonic() - began < 5
    assert writer.busy
    assert writer.newest == ""
    store.gate.set()
    writer.flush()
    assert not writer.busy


def test_a_third_save_waits_until_the_second_is_written_out_of_memory(store: SlowStore) -> None:
    writer = writer_for(store)
    store.gate.clear()
    writer.save(state_of(1), 1, {})  # its file is written, the store is slow
    writer.save(state_of(2), 2, {})  # its copy waits for the one before
    third = threading.Thread(target=writer.save, args=(state_of(3), 3, {}))
    third.start()
    third.join(0.5)
    assert third.is_alive()
    store.gate.set()
    third.join(30)
    writer.flush()
    for step in (1, 2, 3):
        with store.opened(f"step-{step:06d}", store.manifest(f"step-{step:06d}")):
            pass


def test_an_error_is_raised_at_the_next_save_and_names_what_is_left(store: SlowStore) -> None:
    writer = writer_for(store)
    writer.save(state_of(1), 1, {})
    writer.flush()
    store.failures = [OSError(errno.ENOSPC, "No space left on device")]
    writer.save(state_of(2), 2, {})
    while writer.busy:
        time.sleep(0.01)
    with pytest.raises(
        PhaseError, match=r"after step 2 could not be saved: .*No space left.*complete one is step-000001"
    ):
        writer.save(state_of(3), 3, {})
    writer.save(state_of(3), 3, {})
    writer.flush()
    assert writer.newest == "step-000003"


def test_an_error_is_raised_at_the_end_when_no_save_follows(store: SlowStore) -> None:
    writer = writer_for(store)
    store.failures = [PermissionError(errno.EACCES, "Permission denied")]
    writer.save(state_of(1), 1, {})
    with pytest.raises(PhaseError, match="Permission denied"):
        writer.flush()
    writer.flush()  # raised once


def test_a_thread_that_cannot_be_started_is_not_waited_for(store: SlowStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = writer_for(store)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", cannot)
        with pytest.raises(RuntimeError):
            writer.save(state_of(1), 1, {})
    assert not writer.busy
    writer.save(state_of(2), 2, {})
    writer.flush()
    assert writer.newest == "step-000002"


def test_a_failed_save_leaves_no_files_behind(store: SlowStore, tmp_path: Path) -> None:
    writer = writer_for(store)
    store.failures = [OSError(errno.ENOSPC, "No space left on device")]
    writer.save(state_of(1), 1, {})
    with pytest.raises(PhaseError):
        writer.flush()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_after_a_failed_save_the_next_checkpoint_is_complete(store: SlowStore) -> None:
    writer, state = writer_for(store), state_of(1)
    store.failures = [OSError(errno.EIO, "Input/output error")]
    writer.save(state, 1, {})
    with pytest.raises(PhaseError):
        writer.flush()
    writer.save(state, 2, {})
    writer.flush()
    assert store.manifest("step-000002").references == {}


def test_a_remote_store_that_fails_for_a_while_is_retried(tmp_path: Path) -> None:
    store = SlowStore(tmp_path, local=False)
    store.failures = [ConnectionError("refused"), PhaseError("half of it is there")]
    writer = writer_for(store)
    writer.save(state_of(1), 1, {})
    writer.flush()
    assert writer.newest == "step-000001"


def test_retries_of_a_remote_store_end_after_the_patience(tmp_path: Path) -> None:
    store = SlowStore(tmp_path, local=False)
    store.failures = [ConnectionError("refused")] * 9
    writer = writer_for(store, patience=0.6)
    writer.save(state_of(1), 1, {})
    with pytest.raises(PhaseError, match="refused"):
        writer.flush()


def test_a_run_that_was_taken_over_publishes_nothing_more(store: SlowStore) -> None:
    def committing(name: str) -> None:
        raise TakenOverError("run b has taken over")

    writer = writer_for(store, committing)
    writer.save(state_of(1), 1, {})
    with pytest.raises(TakenOverError):
        writer.flush()
    assert "manifest of step-000001" not in store.done


def test_referenced_files_are_in_the_manifest_and_verified(store: SlowStore, tmp_path: Path) -> None:
    writer, base = writer_for(store), torch.ones(10_000)
    for step in (1, 2):
        writer.save({"base": base, "x": torch.full((3,), float(step))}, step, {})
    writer.flush()
    manifest = store.manifest("step-000002")
    assert list(manifest.references) == ["step-000001/tensors.safetensors"]
    file = tmp_path / "checkpoints" / "step-000001" / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PhaseError, match="sha256 differs"), store.opened("step-000002", manifest):
        pass


def test_the_cost_of_saving_is_measured(store: SlowStore) -> None:
    writer = writer_for(store)
    stall = writer.save({"x": torch.ones(2_000_000)}, 1, {})
    writer.flush()
    assert 0 < stall < writer.cost_seconds < 5


def test_cpu_time_in_the_background_counts_one_and_a_half_times(
    store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loop that computes on all processors is delayed by more than what is taken from one of them."""

    def computing(self: SlowStore, *published: object) -> None:
        until = time.thread_time() + 0.2
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(SlowStore, "publish", computing)
    writer = writer_for(store)
    writer.save(state_of(1), 1, {})
    writer.flush()
    assert 0.3 <= writer.cost_seconds < 0.6
