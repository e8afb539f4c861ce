"""Files of tensors are those that the safetensors library reads, whatever lies where in memory."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlflow_plugin.checkpoints import snapshot, tensorfile
from mlflow_plugin.checkpoints.files import load_state, write_snapshot
from mlflow_plugin.checkpoints.snapshot import TENSORS_FILE, Snapshots

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

SIZES = st.lists(st.sampled_from([0, 1, 3, 1000, 4096, 4100, 8192, 12_289, 40_000]), min_size=1, max_size=6)


@pytest.mark.parametrize("past_cache", [True, False])
@given(sizes=SIZES, changing=st.sets(st.integers(0, 5)), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_byte_arrives(
    past_cache: bool,
    sizes: list[int],
    changing: set[int],
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "_REALIGNED_BYTES", 1)
    monkeypatch.setattr(tensorfile, "_CHUNK_BYTES", 8192)
    generator = torch.Generator().manual_seed(seed)
    dtypes = (torch.uint8, torch.float32, torch.int64, torch.bfloat16)
    state = {
        f"t{number}": torch.randint(0, 100, (size,), generator=generator).to(dtypes[number % 4])
        for number, size in enumerate(sizes)
    }
    snapshots = Snapshots()
    for step in range(3):
        taken = snapshots.take(state)
        folder = tmp_path / f"step-{step}"
        written = write_snapshot(taken, folder, past_cache=past_cache)
        taken.mark_stored(written.layout, folder.name)
        for file, entry in written.files.items():
            content = (folder / file).read_bytes()
            assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        loaded = load_state(folder)
        assert all(torch.equal(loaded[name], value) for name, value in state.items())
        for number in changing & set(range(len(sizes))):
            state[f"t{number}"] += 1


def test_what_changes_is_written_without_another_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffered = []
    buffer = tensorfile._Stream.buffer

    def counting(stream: tensorfile._Stream, content: memoryview) -> None:
        buffered.append(len(content))
        buffer(stream, content)

    monkeypatch.setattr(tensorfile._Stream, "buffer", counting)
    state = {f"layer{number}": torch.zeros(500_001 + number) for number in range(4)} | {"base": torch.ones(3_000_000)}
    snapshots = Snapshots()
    for step in range(3):
        taken = snapshots.take(state)
        buffered.clear()
        written = write_snapshot(taken, tmp_path / f"step-{step}", past_cache=True)
        taken.mark_stored(written.layout, f"step-{step}")
        size = written.files[TENSORS_FILE].size
        assert sum(buffered) < 0.02 * size
        assert (size < 12_000_000) is (step > 0)
        for number in range(4):
            state[f"layer{number}"] += 1
