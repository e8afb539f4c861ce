"""The file EXPERIMENT_LOG.md: entries are appended whole, once each, by as many processes as like, also when one of
them is killed in the middle. What people write into the file is never changed.

Whoever appends holds a lock on the file (flock, which ends with its process), and first writes what it is about to
append into a file beside it, `.EXPERIMENT_LOG.md.pending`. The next one finds that, and appends the part that is
missing.
"""

import fcntl
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically

HEADING = "# Experiment log\n\nOne entry for each run of a phase that has ended, oldest first.\n"
_RUN = re.compile(rb"<!-- mlflow-phases run ([0-9a-f]{32}) -->")
_PATIENCE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.02


def logged_runs(file: Path) -> set[str]:
    """The ids of the runs that have a whole entry. Raises PhaseError when the file cannot be read."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise _trouble(file, error) from error
    return {run_id.decode() for run_id in _RUN.findall(content)}


def append(file: Path, entries: Mapping[str, str]) -> list[str]:
    """Appends those entries (run id -> Markdown) that the file lacks; returns the ids of the runs that got one.

    Makes the file when there is none. Raises PhaseError when it cannot be written; what was in it is kept.
    """
    try:
        file = file.resolve()
        with _locked(file) as descriptor:
            _mend(file, descriptor)
            known = {run_id.decode() for run_id in _RUN.findall(_content(descriptor))}
            new = {run_id: text for run_id, text in entries.items() if run_id not in known}
            if new:
                _append(file, descriptor, "\n".join(new.values()))
            return list(new)
    except OSError as error:
        raise _trouble(file, error) from error


def _trouble(file: Path, error: OSError) -> PhaseError:
    return PhaseError(
        f"{file}: {error.strerror or error}. Nothing that was in it is lost. Mend that, then `mlflow-phases log` "
        "appends what is missing."
    )


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        _lock(file, descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(file: Path, descriptor: int) -> None:
    """Waits for the lock for as long as appending can take, and then says that something is wrong."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    with report_periodically(lambda: f"waiting for another process that appends to {file}"):
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            if time.monotonic() > deadline:
                raise PhaseError(
                    f"{file}: another process has held it for {_PATIENCE_SECONDS:.0f} s. See which with "
                    f"`fuser {file}`; then `mlflow-phases log` appends what is missing."
                )
            time.sleep(_LOOK_EVERY_SECONDS)


def _content(descriptor: int, offset: int = 0) -> bytes:
    size, parts = os.fstat(descriptor).st_size, []
    while offset < size and (part := os.pread(descriptor, size - offset, offset)):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _pending(file: Path) -> Path:
    return file.with_name(f".{file.name}.pending")


def _mend(file: Path, descriptor: int) -> None:
    """Completes what a process had begun to append when it was killed, unless somebody has written after it."""
    pending = _pending(file)
    try:
        content = json.loads(pending.read_bytes())
        offset, text = int(content["offset"]), str(content["text"]).encode()
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        offset, text = -1, b""  # It was killed before it had begun to append.
    if 0 <= offset <= os.fstat(descriptor).st_size:
        there = _content(descriptor, offset)
        if text.startswith(there):
            _write(descriptor, text[len(there) :])
    pending.unlink(missing_ok=True)


def _append(file: Path, descriptor: int, text: str) -> None:
    content = _content(descriptor)
    pending, whole = _pending(file), _before(content) + text
    _write_file(pending, json.dumps({"offset": len(content), "text": whole}).encode())
    _write(descriptor, whole.encode())
    pending.unlink(missing_ok=True)


def _before(content: bytes) -> str:
    """What has to stand between that and an entry: an empty line, in a new file a heading."""
    if not content:
        return f"{HEADING}\n"
    return "" if content.endswith(b"\n\n") else "\n" if content.endswith(b"\n") else "\n\n"


def _write_file(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        _write(descriptor, content)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
