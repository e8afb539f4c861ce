"""Checkpoints that are not what they were when they were saved, made so behind MLflow's back."""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.nightly.faults.training import Reference, Training
from tests.servers.stores import BucketFiles, FolderFiles, Store

Files = FolderFiles | BucketFiles
PHASE = "train_keeping_all"


def _change(files: Files, path: str, change: Callable[[bytes], bytes]) -> None:
    files.write(path, change(files.read(path)))


def _described(files: Files, folder: str, change: Callable[[dict[str, Any]], object]) -> None:
    path = f"{folder}/manifest.json"
    manifest = json.loads(files.read(path))
    change(manifest)
    files.write(path, json.dumps(manifest).encode())


def flipped(content: bytes) -> bytes:
    """The same but for one bit in its middle."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _newer_state(files: Files, folder: str) -> None:
    """Written by a later version, and sound by that version's manifest."""
    path = f"{folder}/state.json"
    state = json.loads(files.read(path))
    content = json.dumps({**state, "format_version": state["format_version"] + 1}).encode()
    files.write(path, content)
    entry = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    _described(files, folder, lambda manifest: manifest["files"].update({"state.json": entry}))


def _without_files(files: Files, folder: str) -> None:
    for path in files.paths():
        if path.startswith(f"{folder}/") and not path.endswith("/manifest.json"):
            files.remove(path)


DAMAGES: dict[str, Callable[[Files, str], None]] = {
    "tensors truncated": lambda files, folder: _change(files, f"{folder}/tensors.safetensors", lambda old: old[:-100]),
    "tensors empty": lambda files, folder: files.write(f"{folder}/tensors.safetensors", b""),
    "tensors missing": lambda files, folder: files.remove(f"{folder}/tensors.safetensors"),
    "a bit of the tensors flipped": lambda files, folder: _change(files, f"{folder}/tensors.safetensors", flipped),
    "a bit of the state flipped": lambda files, folder: _change(files, f"{folder}/state.json", flipped),
    "state missing": lambda files, folder: files.remove(f"{folder}/state.json"),
    "files without manifest": lambda files, folder: files.remove(f"{folder}/manifest.json"),
    "manifest without files": _without_files,
    "manifest truncated": lambda files, folder: _change(files, f"{folder}/manifest.json", lambda old: old[:-20]),
    "manifest of a newer version": lambda files, folder: _described(
        files, folder, lambda manifest: manifest.update(format_version=99)
    ),
    "state of a newer version": _newer_state,
}
STEPS = len(DAMAGES) + 3


def checkpoint(step: int) -> str:
    return f"checkpoints/step-{step:06d}"


def needed_files(files: Files, step: int) -> set[str]:
    """The files of a checkpoint, files of earlier checkpoints included."""
    manifest = json.loads(files.read(f"{checkpoint(step)}/manifest.json"))
    own = {f"{checkpoint(step)}/{name}" for name in manifest["files"]}
    return own | {f"checkpoints/{path}" for path in manifest.get("references", {})}


def interrupted(store: Store, folder: Path, reference: Reference) -> Training:
    """A training killed in its last step, with a checkpoint after each before."""
    training = Training(store, folder, reference, PHASE, steps=STEPS, every=1)
    training.start(hold_at=STEPS - 1).wait_held(STEPS - 1, STEPS - 1)
    training.kill()
    return training


def damaged(store: Store, folder: Path, reference: Reference, *kinds: str) -> Training:
    """Damage the newest checkpoints, one kind each from the newest back, and let the training finish.

    Raises AssertionError unless it resumes from the newest intact one, and names those that it skipped.
    """
    training = interrupted(store, folder, reference)
    files = store.files(training.last.run_id)
    hurt = [STEPS - 1 - number for number in range(len(kinds))]
    for step, kind in zip(hurt, kinds, strict=True):
        DAMAGES[kind](files, checkpoint(step))
    training.announced = left = hurt[-1] - 1
    finished = training.finish()
    assert min(finished.steps) == left, f"it went on from {min(finished.steps)}: {finished.text}"
    for step, kind in zip(hurt, kinds, strict=True):
        assert f"skipped step-{step:06d} of" in finished.text, f"{kind} is not told: {finished.text}"
    return training


def every_kind(store: Store, folder: Path, reference: Reference) -> str:
    """All kinds of damage at once, one checkpoint each; how the training came through."""
    training = damaged(store, folder, reference, *DAMAGES)
    return f"passed over {len(DAMAGES)} checkpoints, went on from step {min(training.last.steps)}"


def put_another_models_checkpoint(store: Store, folder: Path, training: Training) -> None:
    """In the place of the newest checkpoint, a sound one of a narrower model."""
    other = Training(store, folder, None, PHASE, steps=2, every=1, width=8)
    assert other.start().wait() == 0, other.last.text
    source, target = store.files(other.last.run_id), store.files(training.last.run_id)
    _without_files(target, checkpoint(STEPS - 1))
    for path in source.paths():
        if path.startswith(f"{checkpoint(1)}/"):
            target.write(path.replace(checkpoint(1), checkpoint(STEPS - 1)), source.read(path))
    _described(target, checkpoint(STEPS - 1), lambda manifest: manifest.update(step=STEPS - 1))
