"""The files of a folder of artifacts with sha256 and size, the training step and metrics, so that anybody can verify
it.

Manifests come back from a store and are checked before use: names that could leave the folder are refused.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.project.content import content_digest
from mlflow_plugin.project.digests import FileState, file_states, read_digest, value_digest, walk_files

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "FileEntry",
    "Manifest",
    "content_digest",
    "entries_of",
    "safe_relative_path",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_DRIVE = re.compile(r"[A-Za-z]:")
_PLAIN_NAME = re.compile(r"(?!\.)(?=.{1,200}\Z)[A-Za-z0-9_.-]+(/(?!\.)[A-Za-z0-9_.-]+)*")
"""The usual names, which are safe; all others are looked at more closely."""
_LONGEST_PART = 255
_LONGEST_NAME = 1024


@dataclass(frozen=True)
class FileEntry:
    """sha256 (64 hex digits) and size (bytes) of a file; `content` where its content digest is another."""

    sha256: str
    size: int
    content: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Files of a folder by relative posix path, with the training step and metrics they stand for.

    `references` are files beside the folder that it needs as well, such as those of an earlier checkpoint.
    Raises PhaseError when made with a file name that is not safe in every store and file system.
    """

    files: dict[str, FileEntry]
    step: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    references: dict[str, FileEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in (*self.files, *self.references):
            if not _PLAIN_NAME.fullmatch(name) and str(safe_relative_path(name)) != name:
                raise PhaseError(f"{_shown(name)} is no plain file name: write it without '.' and doubled slashes.")

    @classmethod
    def of(
        cls,
        folder: Path,
        skip: tuple[str, ...] = (MANIFEST_NAME,),
        *,
        step: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> "Manifest":
        """Describe every file below `folder`, hidden ones too, but the relative names in `skip`.

        Raises PhaseError when the folder is missing, a file cannot be read or a name is not safe.
        """
        if not Path(folder).is_dir():
            raise PhaseError(f"{folder} is no folder, so there is nothing to describe. Write the files first.")
        files = {name: path for name, path in walk_files(Path(folder)) if name not in skip}
        return cls(entries_of(files), step, {name: float(value) for name, value in (metrics or {}).items()})

    @cached_property
    def digest(self) -> str:
        """sha256 over names and contents alone: equal for equal files, whatever the step, the metrics or the run."""
        return value_digest(sorted([name, entry.content or entry.sha256] for name, entry in self.files.items()))

    def to_json(self) -> str:
        """Text that `from_json` reads back as an equal manifest. NaN and infinities are written by name, as text."""
        metrics = {name: value if math.isfinite(value) else str(value) for name, value in self.metrics.items()}
        described: dict[str, object] = {"format_version": self.format_version, "step": self.step, "metrics": metrics}
        described["files"] = _described(self.files)
        if self.references:
            described["references"] = _described(self.references)
        return json.dumps(described, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        """Read a manifest. Raises PhaseError when it is malformed, hostile, or written by a newer version."""
        try:
            described = json.loads(text)
            version = _checked_int(described["format_version"], "format_version")
            if version > FORMAT_VERSION:
                raise NewerFormatError(
                    f"This manifest has format {version}, written by a newer mlflow-phases; this one reads up to "
                    f"{FORMAT_VERSION}. Upgrade mlflow-phases."
                )
            if version < 1:
                raise ValueError(f"format_version {version}")
            files = {name: _read_entry(name, entry) for name, entry in described["files"].items()}
            elsewhere = described.get("references", {})
            references = {name: _read_entry(name, entry) for name, entry in elsewhere.items()}
            step = None if described["step"] is None else _checked_int(described["step"], "step")
            metrics = {name: float(value) for name, value in described["metrics"].items()}
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            what = f"{type(error).__name__}: {error}"
            raise PhaseError(f"This manifest is damaged ({what}). Do not use the files beside it.") from error
        return cls(files, step, metrics, version, references)

    def verify(self, folder: Path) -> list[str]:
        """Faults of a folder against this manifest, one sentence each; empty when it is sound. Reads every byte.

        Files that the manifest does not name are no faults. Raises PhaseError for a file that cannot be read.
        """
        return [fault for name, entry in self.files.items() if (fault := _fault(name, entry, Path(folder, name)))]


def safe_relative_path(name: str) -> PurePosixPath:
    """A user's or a store's name for an artifact, as a path that stays below its folder on every system.

    Raises PhaseError for a name that is empty, absolute, too long, has a drive letter, a backslash, a part `..`, or
    characters that are unprintable or no valid Unicode.
    """
    if not isinstance(name, str):
        raise PhaseError(f"An artifact's name must be text, not {type(name).__name__}.")
    path = PurePosixPath(name)
    if _PLAIN_NAME.fullmatch(name):
        return path
    fault = None
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        fault = "has control characters or invalid Unicode"
    elif not path.parts:
        fault = "is empty"
    elif path.is_absolute() or _DRIVE.match(name):
        fault = "is absolute"
    elif "\\" in name:
        fault = "has a backslash"
    elif ".." in path.parts:
        fault = "leads out of its folder"
    elif len(name) > _LONGEST_NAME or any(len(part.encode()) > _LONGEST_PART for part in path.parts):
        fault = "is too long"
    if fault:
        raise PhaseError(f"The artifact name {_shown(name)} {fault}. Use a relative path such as 'plots/loss.png'.")
    return path


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 100 else name[:100] + "...")


def entries_of(files: Mapping[str, Path]) -> dict[str, FileEntry]:
    """Return the entries of files, sorted by name. Raises PhaseError when a file cannot be read."""
    states = file_states(files.values())
    return {name: _entry(path, states[path]) for name, path in sorted(files.items())}


def _entry(path: Path, state: FileState) -> FileEntry:
    content = content_digest(path, state.sha256)
    return FileEntry(state.sha256, state.size, content if content != state.sha256 else None)


def _described(files: Mapping[str, FileEntry]) -> dict[str, dict[str, object]]:
    return {
        name: {"sha256": entry.sha256, "size": entry.size} | ({"content": entry.content} if entry.content else {})
        for name, entry in files.items()
    }


def _read_entry(name: str, entry: dict[str, Any]) -> FileEntry:
    read = FileEntry(entry["sha256"], _checked_int(entry["size"], "size"), entry.get("content"))
    if read.size < 0:
        raise ValueError(f"size {read.size} of {_shown(name)}")
    for digest in (read.sha256, read.content or read.sha256):
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"digest {digest!r:.80} of {_shown(name)}")
    return read


def _checked_int(value: object, key: str) -> int:
    if type(value) is not int:
        raise ValueError(f"{key} {value!r:.80}")
    return value


def _size_fault(name: str, entry: FileEntry, size: int | None) -> str | None:
    if size is None:
        return f"{name} is missing."
    if size != entry.size:
        return f"{name} has {size} bytes instead of {entry.size}."
    return None


def _fault(name: str, entry: FileEntry, path: Path) -> str | None:
    fault = _size_fault(name, entry, path.stat().st_size if path.is_file() else None)
    if fault is None and (read_digest(path) != entry.sha256 or entry.content not in (None, content_digest(path))):
        return f"{name} has other bytes than when it was written: its sha256 differs."
    return fault
