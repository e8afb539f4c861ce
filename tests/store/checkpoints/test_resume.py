"""An interrupted phase resumes from the newest checkpoint that verifies, and reports those that it skips."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_verified
from mlflow_plugin.checkpoints.store import CheckpointStore
from mlflow_plugin.checkpoints.writer import CheckpointWriter
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store.run import PhaseRun

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


class Remembered:
    """The checkpoints that were reported as damaged."""

    def __init__(self) -> None:
        self.checkpoints: list[tuple[str, str]] = []

    def __call__(self, run_id: str, name: str, why: str) -> None:
        assert why
        self.checkpoints.append((run_id, name))


def a_run(folder: Path, run_id: str = "aaaaaaaaaa", steps: tuple[int, ...] = (1, 2, 3), **known_bad: str) -> PhaseRun:
    """A run with checkpoints whose state says after which step it was saved; part of it never changes."""
    store, base = CheckpointStore(str(folder)), torch.arange(10_000.0)
    writer = CheckpointWriter(store, lambda name, manifest, stall: None, lambda name: None, "train")
    for step in steps:
        content = {"base": base, "weights": torch.full((10,), float(step)), "step": step}
        writer.save({"state": content, "random": {}}, step, {"loss": 1 / step})
    writer.flush()
    return PhaseRun(run_id, "train", artifact_uri=str(folder), bad_checkpoints=known_bad)


def loaded(*runs: PhaseRun, remember: Callable[[str, str, str], None] | None = None) -> LoadedCheckpoint:
    found = newest_verified(runs, remember or Remembered())
    assert isinstance(found, LoadedCheckpoint), found
    assert found.state["step"] == found.step
    assert found.state["weights"].tolist() == [found.step] * 10
    assert torch.equal(found.state["base"], torch.arange(10_000.0))
    return found


def folder_of(run: PhaseRun, step: int) -> Path:
    return Path(run.artifact_uri, "checkpoints", f"step-{step:06d}")


def test_the_newest_is_taken(tmp_path: Path) -> None:
    found = loaded(a_run(tmp_path))
    assert (found.step, found.skipped, found.metrics) == (3, (), {"loss": 1 / 3})


def test_steps_are_compared_as_numbers(tmp_path: Path) -> None:
    assert loaded(a_run(tmp_path, steps=(900_000, 999_999, 1_000_000))).step == 1_000_000


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda folder: (folder / "tensors.safetensors").write_bytes(b"x"), "has 1 bytes instead of"),
    "bit_flipped": (lambda folder: flip(folder / "tensors.safetensors"), "sha256 differs"),
    "state_flipped": (lambda folder: flip(folder / "state.json"), "sha256 differs"),
    "file_missing": (lambda folder: (folder / "state.json").unlink(), "state.json is missing"),
    "manifest_damaged": (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
    "manifest_no_text": (lambda folder: (folder / "manifest.json").write_bytes(b"\xff{}"), "damaged"),
    "manifest_hostile": (
        lambda folder: (folder / "manifest.json").write_text(
            json.dumps(json.loads((folder / "manifest.json").read_text()) | {"references": {"../../x": {}}})
        ),
        "damaged",
    ),
    "manifest_alone": (
        lambda folder: [file.unlink() for file in folder.iterdir() if file.name != "manifest.json"],
        "is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_skipped_reported_and_never_read_again(tmp_path: Path, damage: str) -> None:
    run, remembered = a_run(tmp_path), Remembered()
    DAMAGES[damage][0](folder_of(run, 3))
    found = loaded(run, remember=remembered)
    assert found.step == 2
    assert len(found.skipped) == 1
    assert DAMAGES[damage][1] in found.skipped[0]
    assert remembered.checkpoints == [(run.run_id, "step-000003")]


def test_one_that_is_known_to_be_bad_is_not_read_again(tmp_path: Path) -> None:
    a_run(tmp_path)
    run, remembered = (
        PhaseRun("a" * 10, "train", artifact_uri=str(tmp_path), bad_checkpoints={"step-000003": "rotten"}),
        Remembered(),
    )
    found = loaded(run, remember=remembered)
    assert (found.step, remembered.checkpoints) == (2, [])
    assert "rotten" in found.skipped[0]


def test_files_without_a_manifest_are_no_checkpoint_and_no_damage(tmp_path: Path) -> None:
    run, remembered = a_run(tmp_path), Remembered()
    (folder_of(run, 3) / "manifest.json").unlink()
    found = loaded(run, remember=remembered)
    assert (found.step, remembered.checkpoints) == (2, [])
    assert "never complete" in found.skipped[0]


def test_one_whose_earlier_file_is_gone_is_skipped(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    (folder_of(run, 1) / "tensors.safetensors").unlink()
    assert len(newest_verified([run], Remembered())) == 3  # type: ignore[arg-type]


def test_one_of_a_newer_version_is_skipped_but_not_marked_bad(tmp_path: Path) -> None:
    run, remembered = a_run(tmp_path), Remembered()
    file = folder_of(run, 3) / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format_version": 99}))
    found = loaded(run, remember=remembered)
    assert (found.step, remembered.checkpoints) == (2, [])
    assert "newer" in found.skipped[0]


def test_a_state_that_no_phase_saved_is_skipped(tmp_path: Path) -> None:
    run, remembered = a_run(tmp_path, steps=(1, 2)), Remembered()
    writer = CheckpointWriter(CheckpointStore(str(tmp_path)), lambda *_: None, lambda name: None, "other")
    writer.save(["another model's state"], 3, {})
    writer.flush()
    assert loaded(run, remember=remembered).step == 2
    assert remembered.checkpoints == [(run.run_id, "step-000003")]


def test_the_run_that_it_resumed_from_is_next(tmp_path: Path) -> None:
    first = a_run(tmp_path / "a", "a" * 10, steps=(1, 2))
    second = a_run(tmp_path / "b", "b" * 10, steps=(3,))
    flip(folder_of(second, 3) / "state.json")
    found = loaded(second, first)
    assert (found.run_id, found.step) == (first.run_id, 2)
    assert found.skipped[0].startswith("step-000003 of bbbbbbbb")


def test_when_none_verifies_all_skipped_ones_are_reported(tmp_path: Path) -> None:
    run = a_run(tmp_path, steps=(1, 2))
    for step in (1, 2):
        flip(folder_of(run, step) / "state.json")
    assert [sentence[:11] for sentence in newest_verified([run], Remembered())] == ["step-000002", "step-000001"]  # type: ignore[union-attr]
    shutil.rmtree(Path(run.artifact_uri, "checkpoints"))
    assert newest_verified([run], Remembered()) == []


def test_a_disk_that_is_not_mounted_is_no_reason_to_start_over(tmp_path: Path) -> None:
    run = PhaseRun("a" * 10, "train", artifact_uri=str(tmp_path / "mount" / "artifacts"), checkpoint="step-000003")
    with pytest.raises(PhaseError, match=r"step-000003 of run a+, is not there.*decide=rerun"):
        newest_verified([run], Remembered())


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("mlflow_plugin.project.digests.hashlib.file_digest", OSError(5, "Input/output error")),
        ("mlflow_plugin.project.digests.hashlib.file_digest", PermissionError(13, "Permission denied")),
        ("safetensors.safe_open", MemoryError()),
        ("safetensors.safe_open", ImportError("No module named 'safetensors'")),
    ],
    ids=["io_error", "permission", "memory", "library"],
)
def test_one_that_this_machine_cannot_read_now_is_not_marked_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception
) -> None:
    def fails(*args: object, **options: object) -> None:
        raise error

    run, remembered = a_run(tmp_path), Remembered()
    monkeypatch.setattr(place, fails)
    with pytest.raises(PhaseError, match=r"step-000003 .* cannot be read .* Nothing was changed"):
        loaded(run, remember=remembered)
    assert remembered.checkpoints == []


def test_a_store_that_does_not_answer_is_no_reason_to_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, remembered = a_run(tmp_path), Remembered()

    def unreachable(store: CheckpointStore, name: str) -> None:
        raise ConnectionError("connection refused")

    monkeypatch.setattr(CheckpointStore, "manifest", unreachable)
    with pytest.raises(PhaseError, match=r"cannot be read.*connection refused.*when the store is back"):
        newest_verified([run], remembered)
    assert remembered.checkpoints == []
