"""Write a state to files and read it back: `state.json`, `tensors.safetensors` and `arrays.safetensors`.

The last two exist only when the state has tensors or arrays. Nothing is ever unpickled. torch, NumPy and safetensors
are imported only when a state needs them.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.checkpoints.encoding import Decoder
from mlflow_plugin.checkpoints.holders import as_phase_error
from mlflow_plugin.checkpoints.snapshot import ARRAYS_FILE, TENSORS_FILE, Layout, Snapshot, Snapshots
from mlflow_plugin.checkpoints.tensorfile import Block, write_blocks
from mlflow_plugin.errors import NewerFormatError
from mlflow_plugin.project.digests import read_digest
from mlflow_plugin.store.manifest import FileEntry, safe_relative_path

_FORMAT_VERSION = 1
STATE_FILE = "state.json"


def save_state(state: object, folder: Path) -> None:
    """Write a state into a folder. `load_state` returns an equal state, bit for bit.

    Args:
        state: Any nesting of dictionaries (keys: plain values or tuples), OrderedDict, lists, tuples, None, bool, int,
            float, str, bytes, strided torch tensors of any dtype and device, torch.Size, torch.dtype, torch.device, and
            NumPy arrays and scalars without Python objects. Tensors that share their memory share it again when they
            are loaded; identical ones are stored once.
        folder: Created when missing.

    Raises:
        PhaseError: A value is of another type (sets and subclasses included; the message names its key path and type),
            or the folder cannot be written.
    """
    write_snapshot(Snapshots().take(state), Path(folder))


@dataclass(frozen=True)
class WrittenState:
    """The files of a state, their layout, and the files of earlier checkpoints that the state refers to."""

    files: dict[str, FileEntry]
    layout: Layout
    references: set[str]


def write_snapshot(snapshot: Snapshot, folder: Path, name: str = "", *, past_cache: bool = False) -> WrittenState:
    """Write the parts of a snapshot that no earlier checkpoint holds. The files are not yet synced to disk.

    Args:
        snapshot: A copy of the state.
        folder: Created when missing.
        name: The checkpoint's name, by default the folder's.
        past_cache: Bypass the page cache of the operating system where possible.

    Raises:
        PhaseError: The folder cannot be written.
    """
    name = name or folder.name
    layout = snapshot.layout(name)
    files = {}
    with as_phase_error(
        f"The checkpoint in {folder} cannot be written", "Check its permissions and the free disk space."
    ):
        folder.mkdir(parents=True, exist_ok=True)
        for file, blocks in layout.blocks.items():
            files[file] = _write_atomically(folder / file, blocks, past_cache)
        content = {"format_version": _FORMAT_VERSION, "state": snapshot.tree, "elsewhere": layout.elsewhere}
        if snapshot.shared_memory:
            content["shared_memory"] = snapshot.shared_memory
        # Written last: a folder without it does not count as a state.
        part = folder / f"{STATE_FILE}.part"
        part.write_text(json.dumps(content, allow_nan=False), encoding="ascii")
        files[STATE_FILE] = FileEntry(read_digest(part), part.stat().st_size)
        os.replace(part, folder / STATE_FILE)
    paths = {path for by_name in layout.elsewhere.values() for path in by_name.values()}
    return WrittenState(files, layout, {path for path in paths if not path.startswith(f"{name}/")})


def _write_atomically(path: Path, blocks: list[Block], past_cache: bool) -> FileEntry:
    """Write under another name, then rename: a state loaded from the old file may still be mapped into memory."""
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
    """Flush a folder and the files in it to disk (fsync). Raises OSError."""
    for path in (*(entry for entry in folder.iterdir() if entry.is_file()), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def load_state(folder: Path) -> Any:
    """Read a state that `save_state` wrote.

    Args:
        folder: The checkpoint's folder. Files of earlier checkpoints that it refers to must lie in folders beside it.

    Returns:
        The state. Tensors are on the CPU, contiguous, without gradients and memory-mapped from the files.

    Raises:
        PhaseError: A file is missing or damaged.
        NewerFormatError: A newer version of this package wrote the checkpoint.
    """
    folder = Path(folder)
    with as_phase_error(f"The checkpoint in {folder} is damaged", "Use an older one, or start from the beginning."):
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
        return Decoder(tensors, arrays, saved.get("shared_memory", ())).decode(saved["state"])


def _read(folder: Path, file: str, elsewhere: Mapping[str, str], framework: str) -> dict[str, Any]:
    """Return all tensors or arrays of a state by name: its own and those stored with earlier checkpoints."""
    names_by_file: dict[Path, list[str] | None] = {}
    if (folder / file).exists():
        names_by_file[folder / file] = None
    for name, path in elsewhere.items():
        names = names_by_file.setdefault(folder.parent / safe_relative_path(path), [])
        if names is not None:
            names.append(name)
    return {name: value for path, names in names_by_file.items() for name, value in _load(path, names, framework)}


def _load(path: Path, names: list[str] | None, framework: str) -> Iterator[tuple[str, Any]]:
    from safetensors import safe_open

    with safe_open(path, framework=framework) as file:
        for name in file.keys() if names is None else names:
            yield name, file.get_tensor(name)
