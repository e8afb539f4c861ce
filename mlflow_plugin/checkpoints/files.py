"""A state as files: `state.json`, and `tensors.safetensors` and `arrays.safetensors` when it has such values.

Nothing in them is ever unpickled. torch, NumPy and safetensors are imported only when a state has use for them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.checkpoints.encoding import Decoder
from mlflow_plugin.checkpoints.snapshot import ARRAYS_FILE, TENSORS_FILE, Layout, Snapshot, Snapshots
from mlflow_plugin.checkpoints.state import explained
from mlflow_plugin.checkpoints.tensorfile import Block, write_blocks
from mlflow_plugin.errors import NewerFormatError
from mlflow_plugin.project.digests import read_digest
from mlflow_plugin.store.manifest import FileEntry, safe_relative_path

_FORMAT_VERSION = 1
STATE_FILE = "state.json"


def save_state(state: object, folder: Path) -> None:
    """Writes a state into a folder, which is made when missing. `load_state` gives an equal one, bit for bit.

    Supported: dictionaries (keys of plain values or tuples), OrderedDict, lists, tuples, None, bool, int, float, str,
    bytes, strided torch tensors of any dtype and device, torch.Size, dtype and device, NumPy arrays and scalars
    without Python objects. Tensors come back on the CPU, contiguous and without gradients; equal tensors that share
    their memory are stored once. Sets, subclasses and everything else: PhaseError naming the key path and the type.
    Raises PhaseError when the folder cannot be written.
    """
    write_snapshot(Snapshots().take(state), Path(folder))


@dataclass(frozen=True)
class WrittenState:
    """The files of a state, what lies in them, and the files of earlier checkpoints that it needs as well."""

    files: dict[str, FileEntry]
    layout: Layout
    references: set[str]


def write_snapshot(snapshot: Snapshot, folder: Path, name: str = "", *, past_cache: bool = False) -> WrittenState:
    """Writes what no earlier checkpoint holds into a folder, as the checkpoint `name`, by default the folder's. Not yet
    synced. Raises PhaseError.
    """
    name = name or folder.name
    layout = snapshot.layout(name)
    files = {}
    with explained(f"The checkpoint in {folder} cannot be written", "Check its permissions and the free disk space."):
        folder.mkdir(parents=True, exist_ok=True)
        for file, blocks in layout.blocks.items():
            files[file] = _replaced(folder / file, blocks, past_cache)
        described = {"format_version": _FORMAT_VERSION, "state": snapshot.tree, "elsewhere": layout.elsewhere}
        # Last, since a folder without it is no state.
        part = folder / f"{STATE_FILE}.part"
        part.write_text(json.dumps(described, allow_nan=False), encoding="ascii")
        files[STATE_FILE] = FileEntry(read_digest(part), part.stat().st_size)
        os.replace(part, folder / STATE_FILE)
    places = {place for places in layout.elsewhere.values() for place in places.values()}
    return WrittenState(files, layout, {place for place in places if not place.startswith(f"{name}/")})


def _replaced(path: Path, blocks: list[Block], past_cache: bool) -> FileEntry:
    """Writes under another name first: a state loaded from the old file may still be mapped into memory."""
    part = path.with_name(path.name + ".part")
    try:
        entry = write_blocks(part, blocks, past_cache=past_cache)
        os.replace(part, path)
        return entry
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def sync(folder: Path) -> None:
    """Returns once a folder and the files in it are on the disk. Raises OSError."""
    for path in (*(entry for entry in folder.iterdir() if entry.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load_state(folder: Path) -> Any:
    """Reads a state; files of earlier checkpoints that it names are looked for beside the folder.

    Tensors are mapped from the files, on the CPU. Raises PhaseError when something is missing, damaged or of a newer
    version.
    """
    folder = Path(folder)
    with explained(f"The checkpoint in {folder} is damaged", "Use an older one, or start from the beginning."):
        saved = json.loads((folder / STATE_FILE).read_text(encoding="ascii"))
        version = saved["format_version"]
        if version != _FORMAT_VERSION:
            raise NewerFormatError(
                f"The checkpoint in {folder} has format {version}, and this mlflow-phases reads format "
                f"{_FORMAT_VERSION}. Upgrade mlflow-phases."
            )
        elsewhere = saved.get("elsewhere", {})
        tensors = _read(folder, TENSORS_FILE, elsewhere.get(TENSORS_FILE, {}), "pt")
        arrays = _read(folder, ARRAYS_FILE, elsewhere.get(ARRAYS_FILE, {}), "np")
        return Decoder(tensors, arrays).decode(saved["state"])


def _read(folder: Path, file: str, elsewhere: Mapping[str, str], framework: str) -> dict[str, Any]:
    """All tensors or arrays of a state by name: its own, and those that earlier checkpoints hold."""
    wanted: dict[Path, list[str] | None] = {}
    if (folder / file).exists():
        wanted[folder / file] = None
    for name, place in elsewhere.items():
        names = wanted.setdefault(folder.parent / safe_relative_path(place), [])
        if names is not None:
            names.append(name)
    return {name: value for path, names in wanted.items() for name, value in _stored(path, names, framework)}


def _stored(path: Path, names: list[str] | None, framework: str) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework=framework) as stored:
        for name in stored.keys() if names is None else names:
            yield name, stored.get_tensor(name)
