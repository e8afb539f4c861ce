"""Snapshots: copies that later steps do not touch, in memory that is kept, and what changed since it was stored."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_plugin.checkpoints import snapshot as snapshot_module
from mlflow_plugin.checkpoints.files import load_state, write_snapshot
from mlflow_plugin.checkpoints.snapshot import ARRAYS_FILE, FROZEN_FILES, TENSORS_FILE, Snapshots, _synchronize

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_module, "_SMALL_BYTES", 0)


def saved(snapshots: Snapshots, state: object, folder: Path) -> dict[str, list[str]]:
    """Takes a snapshot and stores it; the names of what was written, by file."""
    snapshot = snapshots.take(state)
    written = write_snapshot(snapshot, folder)
    snapshot.mark_stored(written.layout, folder.name)
    return {file: sorted(block.name for block in blocks) for file, blocks in written.layout.blocks.items()}


def test_later_steps_do_not_touch_a_snapshot(tmp_path: Path) -> None:
    state = {"weights": torch.zeros(1000), "array": np.zeros(10), "epoch": [0]}
    snapshot = Snapshots().take(state)
    state["weights"] += 1
    state["array"] += 1
    state["epoch"][0] = 1
    write_snapshot(snapshot, tmp_path / "step-000001")
    loaded = load_state(tmp_path / "step-000001")
    assert loaded["weights"].sum() == loaded["array"].sum() == 0
    assert loaded["epoch"] == [0]


def test_unchanged_tensors_are_stored_once_and_loaded_again(tmp_path: Path) -> None:
    snapshots = Snapshots()
    state = {"base": torch.arange(100.0), "adapter": torch.zeros(4), "table": np.arange(5), "counts": np.zeros(2)}
    assert saved(snapshots, state, tmp_path / "step-000001") == {
        TENSORS_FILE: ["adapter", "base"],
        ARRAYS_FILE: ["counts", "table"],
    }
    for step in (2, 3):
        state["adapter"] += step
        state["counts"] += step
        written = saved(snapshots, state, tmp_path / f"step-00000{step}")
        assert written == {TENSORS_FILE: ["adapter"], ARRAYS_FILE: ["counts"]}
        loaded = load_state(tmp_path / f"step-00000{step}")
        assert all((loaded[name] == value).all() for name, value in state.items())


@pytest.mark.parametrize(
    ("before", "after"),
    [([0.0], [-0.0]), ([1.0, 2.0], [1.0, 3.0]), ([float("nan")], [1.0])],
    ids=["sign_of_zero", "last_number", "from_nan"],
)
def test_any_changed_bit_is_stored_again(tmp_path: Path, before: list[float], after: list[float]) -> None:
    snapshots, state = Snapshots(), {"x": torch.tensor(before), "y": np.array(before)}
    saved(snapshots, state, tmp_path / "step-000001")
    state["x"].copy_(torch.tensor(after))
    state["y"][:] = after
    saved(snapshots, state, tmp_path / "step-000002")
    loaded = load_state(tmp_path / "step-000002")
    assert torch.equal(loaded["x"].view(torch.int32), state["x"].view(torch.int32))
    assert loaded["y"].tobytes() == state["y"].tobytes()


def test_an_unchanged_nan_is_not_stored_again(tmp_path: Path) -> None:
    snapshots, state = Snapshots(), {"x": torch.tensor([float("nan"), 1.0])}
    saved(snapshots, state, tmp_path / "step-000001")
    assert saved(snapshots, state, tmp_path / "step-000002") == {}


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.bfloat16, torch.float64, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (3, 4)], ids=str)
def test_changes_are_detected_in_every_dtype_and_shape(tmp_path: Path, dtype: torch.dtype, shape: tuple[int]) -> None:
    snapshots, state = Snapshots(), {"x": torch.zeros(shape, dtype=dtype)}
    first = saved(snapshots, state, tmp_path / "step-000001")
    assert saved(snapshots, state, tmp_path / "step-000002") == {}
    state["x"].fill_(1)
    assert saved(snapshots, state, tmp_path / "step-000003") == (first if state["x"].numel() else {})
    assert torch.equal(load_state(tmp_path / "step-000003")["x"], state["x"])


def test_tensors_with_other_strides_and_parts_of_others_are_copied_right(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {"turned": whole.T, "column": whole[:, 1], "conjugate": torch.tensor([1 + 2j]).conj(), "whole": whole}
    snapshots = Snapshots()
    for step in (1, 2):
        saved(snapshots, state, tmp_path / f"step-00000{step}")
        whole += 1
    loaded = load_state(tmp_path / "step-000002")
    assert all(torch.equal(loaded[name], value - 1) for name, value in state.items() if name != "conjugate")
    assert torch.equal(loaded["conjugate"], torch.tensor([1 - 2j]))


def test_shared_tensors_are_stored_once(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.ones(1000))
    saved(Snapshots(), {"embedding": weight, "head": weight}, tmp_path / "step-000001")
    assert (tmp_path / "step-000001" / TENSORS_FILE).stat().st_size < 5000
    loaded = load_state(tmp_path / "step-000001")
    assert loaded["embedding"] is loaded["head"]


def test_what_grows_and_what_comes_back_is_stored_whole(tmp_path: Path) -> None:
    snapshots = Snapshots()
    saved(snapshots, {"x": torch.zeros(2), "y": torch.ones(2)}, tmp_path / "step-000001")
    saved(snapshots, {"x": torch.zeros(3)}, tmp_path / "step-000002")
    saved(snapshots, {"x": torch.zeros(3), "y": torch.ones(2)}, tmp_path / "step-000003")
    loaded = load_state(tmp_path / "step-000003")
    assert loaded["x"].tolist() == [0, 0, 0]
    assert loaded["y"].tolist() == [1, 1]


def test_tensors_of_a_failed_save_are_written_with_the_next_one(tmp_path: Path) -> None:
    snapshots, state = Snapshots(), {"base": torch.ones(3), "step": torch.zeros(1)}
    write_snapshot(snapshots.take(state), tmp_path / "step-000001")  # and then the disk was full
    state["step"] += 1
    assert saved(snapshots, state, tmp_path / "step-000002") == {TENSORS_FILE: ["base", "step"]}


def test_the_small_unchanged_rest_of_an_outdated_file_is_stored_once_more(tmp_path: Path) -> None:
    snapshots = Snapshots()
    state = {"frozen": torch.ones(30), "trained": torch.zeros(70)}
    saved(snapshots, state, tmp_path / "step-000001")
    written = []
    for step in (2, 3, 4):
        state["trained"] += 1
        written.append(saved(snapshots, state, tmp_path / f"step-00000{step}"))
    frozen = FROZEN_FILES[TENSORS_FILE]
    assert written == [
        {TENSORS_FILE: ["trained"], frozen: ["frozen"]},
        {TENSORS_FILE: ["trained"]},
        {TENSORS_FILE: ["trained"]},
    ]
    for old in ("step-000001", "step-000003"):
        shutil.rmtree(tmp_path / old)
    (tmp_path / "step-000002" / TENSORS_FILE).unlink()
    loaded = load_state(tmp_path / "step-000004")
    assert (loaded["frozen"].sum(), loaded["trained"].sum()) == (30, 210)


def test_what_is_small_is_always_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    snapshots, state = Snapshots(), {"random": torch.get_rng_state(), "base": torch.ones(10_000)}
    saved(snapshots, state, tmp_path / "step-000001")
    assert saved(snapshots, state, tmp_path / "step-000002") == {TENSORS_FILE: ["random"]}


def test_a_save_that_ends_after_the_next_snapshot_does_not_count_for_what_changed_since(tmp_path: Path) -> None:
    snapshots, state = Snapshots(), {"base": torch.ones(3), "step": torch.zeros(1)}
    first = snapshots.take(state)
    written = write_snapshot(first, tmp_path / "step-000001")
    state["step"] += 1
    second = snapshots.take(state)
    first.mark_stored(written.layout, "step-000001")
    written = write_snapshot(second, tmp_path / "step-000002")
    assert [block.name for block in written.layout.blocks[TENSORS_FILE]] == ["step"]
    assert written.references == {f"step-000001/{TENSORS_FILE}"}
    assert load_state(tmp_path / "step-000002")["step"] == 1


def test_the_copies_from_every_gpu_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    devices = {"cuda:0": True, "cuda:1": True, "cpu": False}
    _synchronize([SimpleNamespace(device=device, is_cuda=is_cuda) for device, is_cuda in devices.items()])
    assert sorted(waited) == ["cuda:0", "cuda:1"]


def test_the_same_memory_serves_every_snapshot() -> None:
    snapshots, state = Snapshots(), {"x": torch.zeros(1000)}
    places = set()
    for _ in range(3):
        state["x"] += 1
        (block,) = snapshots.take(state).layout("step-000001").blocks[TENSORS_FILE]
        places.add(np.frombuffer(block.content, dtype=np.uint8).ctypes.data)
    assert len(places) == 1
