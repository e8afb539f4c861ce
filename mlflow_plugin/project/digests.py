"""Compute sha256 digests of files, folders and values. Digests of unchanged files are cached.

The cache is one sqlite file in `$XDG_CACHE_HOME/mlflow-phases/` (by default `~/.cache/mlflow-phases/`), shared by
concurrent processes. It is advisory: on any error with it the digest is computed again, without a message. Home-made
because general disk caches (diskcache, joblib) do not check that the file is unchanged, or read it to find out.
"""

import atexit
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digest_cache import DigestCache

_PIECE = 1 << 20
_RACY_NANOSECONDS = 2_000_000_000
BYTES = "sha256"
"""The kind of `remembered` for the digest of a file's bytes."""
_COMPARISON = "comparison"


@dataclass(frozen=True)
class FileState:
    """The digest of a file, and the state of the file that it belongs to.

    Attributes:
        sha256: The sha256 of its bytes, 64 hex digits.
        size: Its size in bytes.
        mtime_ns: Its modification time.
        signature: Size, times, inode and device, as `signature_of` writes them.
    """

    sha256: str
    size: int
    mtime_ns: int
    signature: str


def file_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes, 64 hex digits. An unchanged file is not read again, by any process.

    Raises:
        PhaseError: The file is missing, unreadable or not a regular file.
    """
    return remembered(path, BYTES, read_digest)


def file_states(paths: Iterable[Path | str]) -> dict[Path | str, FileState]:
    """Return the digests of many files as `file_digest` does, with one look into the cache for all.

    Raises:
        PhaseError: A file is missing, unreadable or not a regular file.
    """
    keys = {path: _key(path) for path in paths}
    known = _cache.find_many(list(keys.values()), BYTES)
    states = {}
    for path, key in keys.items():
        status = _status(path)
        signature = signature_of(status)
        found, sha256 = known.get(key, ("", ""))
        if found != signature:
            sha256 = remembered(path, BYTES, read_digest)
        states[path] = FileState(sha256, status.st_size, status.st_mtime_ns, signature)
    return states


def remember_written(path: Path | str, sha256: str, mtime_ns: int) -> None:
    """Remember the digest of a file that this process has just written and given a modification time of its own.

    Other files are remembered only when they have not changed for two seconds, since a second write may leave times of
    the clock's resolution as they were. A time in nanoseconds that was set is replaced by any later write. Nothing is
    remembered where the file system does not keep it, or the file was written to since.

    Args:
        path: The file, in its place.
        sha256: The digest of what was written.
        mtime_ns: The time that was set, an odd number, so that a coarser one differs.
    """
    status = _status(path)
    if status.st_mtime_ns == mtime_ns and mtime_ns % 2:
        _cache.keep(_key(path), BYTES, signature_of(status), sha256)


def read_digest(path: Path) -> str:
    """Return the sha256 of a file's bytes on disk now, never from the cache. Raises PhaseError as `file_digest`."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def digest_of_equal(one: Path | str, other: Path | str) -> str:
    """Return the sha256 of the bytes of two files on disk now; empty when they differ. Each is read once.

    Raises:
        OSError: A file cannot be read.
    """
    with open(one, "rb", buffering=0) as unbuffered, open(other, "rb", buffering=0) as stored:
        if os.fstat(unbuffered.fileno()).st_size <= _PIECE:
            content = unbuffered.readall()
            return hashlib.sha256(content).hexdigest() if content == stored.readall() else ""
    digest = hashlib.sha256()
    with open(one, "rb") as first, open(other, "rb") as second:
        while True:
            piece = first.read(_PIECE)
            if piece != second.read(_PIECE):
                return ""
            if not piece:
                return digest.hexdigest()
            digest.update(piece)


def path_digest(path: Path | str) -> str:
    """Return the sha256 of a file's bytes, or of a folder's files: their relative names and bytes, in sorted order.

    Hidden folders, `__pycache__` and empty folders do not count.

    Raises:
        PhaseError: A file or folder cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return value_digest(dict(_folder_digests(path)))
    return file_digest(path)


def value_digest(value: object) -> str:
    """Return the sha256 of a value's canonical JSON, 64 hex digits.

    Canonical JSON has sorted keys, no spaces, floats as Python's repr, and NaN and Infinity by name. Tuples count as
    lists.

    Raises:
        PhaseError: JSON cannot hold the value.

    >>> value_digest({"b": 1, "a": (2, 3)}) == value_digest({"a": [2, 3], "b": 1})
    True
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise PhaseError(
            f"A value of type {type(value).__name__} has no canonical form: {error}. Use numbers, text and lists."
        ) from error
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def walk_files(folder: Path, skip_folder: Callable[[str], bool] | None = None) -> Iterator[tuple[str, Path]]:
    """Yield the regular files below a folder, sorted within each folder. Symbolic links are followed.

    A folder that several links lead to is entered once, so cycles of links end.

    Args:
        folder: The folder.
        skip_folder: Called with the bare name of each subfolder. Return True to skip it.

    Yields:
        The file's path relative to `folder`, with forward slashes, and its path.

    Raises:
        PhaseError: A folder cannot be listed.
    """
    entered: set[tuple[int, int]] = set()
    pending: list[tuple[str, Path]] = [("", Path(folder))]
    while pending:
        prefix, current = pending.pop()
        try:
            status = current.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(current) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            raise _unreadable(current, error) from error
        below = [entry for entry in entries if entry.is_dir() and not (skip_folder and skip_folder(entry.name))]
        pending += [(f"{prefix}{entry.name}/", Path(entry.path)) for entry in reversed(below)]
        yield from ((prefix + entry.name, Path(entry.path)) for entry in entries if entry.is_file())


def remembered(path: Path | str, kind: str, compute: Callable[[Path], str]) -> str:
    """Return `compute(path)`, from the cache when the file is unchanged.

    A file is unchanged when path, size, modification time, change time, inode and device are the same. A file that was
    changed less than two seconds ago is not cached, since it could change again within the clock's resolution.

    Args:
        path: A regular file.
        kind: The name of the computation and its version.
        compute: The computation. Its exceptions pass.

    Raises:
        PhaseError: The file is missing or not a regular file.
    """
    absolute = _key(path)
    before = _status(path)
    signature = signature_of(before)
    value = _cache.find(absolute, kind, signature)
    if value is not None:
        return value
    value = compute(Path(path))
    old_enough = max(before.st_mtime_ns, before.st_ctime_ns) < time.time_ns() - _RACY_NANOSECONDS
    if old_enough and signature_of(_status(path)) == signature:
        _cache.keep(absolute, kind, signature, value)
    return value


def known_digest(path: Path, size: int, mtime_ns: int, ctime_ns: int, inode: int) -> str | None:
    """Return the sha256 that a file had in an earlier state, None when the cache does not know it."""
    absolute = _key(path)
    try:
        device = os.stat(os.path.dirname(os.path.abspath(path))).st_dev
    except (OSError, ValueError):
        return None
    return _cache.find(absolute, BYTES, f"{size} {mtime_ns} {ctime_ns} {inode} {device}")


def recall(name: str) -> tuple[str, str] | None:
    """Return the signature and the value that `keep` was called with last for a name, by any process."""
    return _cache.last(name, _COMPARISON)


def keep(name: str, signature: str, value: str) -> None:
    """Keep the result of a comparison of many files in the cache.

    Args:
        name: The name of the comparison. An earlier result of this name is replaced.
        signature: The state of what was compared.
        value: The result.
    """
    _cache.keep(name, _COMPARISON, signature, value)


def flush() -> None:
    """Write the values since the last flush to the cache file. Called automatically when the process exits."""
    _cache.flush()


def _folder_digests(folder: Path) -> Iterator[tuple[str, str]]:
    def is_left_out(name: str) -> bool:
        return name.startswith(".") or name == "__pycache__"

    for name, path in walk_files(folder, skip_folder=is_left_out):
        yield name, file_digest(path)


def _key(path: Path | str) -> str:
    """The absolute path as the cache holds it: sqlite takes no names that are not UTF-8."""
    absolute = os.path.abspath(path)
    try:
        absolute.encode("utf-8")
    except UnicodeEncodeError:
        return absolute.encode("utf-8", "backslashreplace").decode("utf-8")
    return absolute


def _status(path: Path | str) -> os.stat_result:
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise PhaseError(f"{path} is not a regular file, so it has no digest. Give the path of a file.")
    return status


def signature_of(status: os.stat_result) -> str:
    """Return the state of a file as text: size, modification and change time, inode and device."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino} {status.st_dev}"


def _unreadable(path: Path | str, error: Exception) -> PhaseError:
    why = getattr(error, "strerror", None) or str(error)
    return PhaseError(f"{path} cannot be read: {why}. Check the path and its permissions.")


def _forget_connection() -> None:
    """A sqlite connection must not cross a fork."""
    global _cache
    _cache = DigestCache()


_cache = DigestCache()
atexit.register(flush)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connection)
