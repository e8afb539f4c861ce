"""The file EXPERIMENT_LOG.md: entries are appended whole and once each, by several processes, also when one is killed.

A writer holds a lock (`filelock`) on `.EXPERIMENT_LOG.md.lock` beside the file, writes the new content to
`.EXPERIMENT_LOG.md.new` and renames that over the file. A reader sees the old file or the new one, and a writer that is
killed leaves the old one. Text that people write into the file is kept as it is.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.reports.files import mode_of, sync_folder, write_synced

HEADING = "# Experiment log\n\nOne entry for each run of a phase that has ended, oldest first.\n"
_RUN = re.compile(rb"<!-- mlflow-phases run ([0-9a-f]{32}) -->")
_PATIENCE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 0.02
_TRIES = 100


def logged_runs(file: Path) -> set[str]:
    """Return the ids of the runs that have an entry. Raises PhaseError when the file cannot be read."""
    try:
        return _runs_in(_content(file))
    except OSError as error:
        raise _trouble(file, error) from error


def append(file: Path, entries: Mapping[str, str]) -> list[str]:
    """Append the entries that the file lacks, and make the file when there is none.

    Args:
        file: The log.
        entries: Markdown by run id.

    Returns:
        The ids of the runs that got an entry.

    Raises:
        PhaseError: The file cannot be written; its content is kept.
    """
    file = file.resolve()
    try:
        file.parent.stat()  # filelock would make a folder that is not there.
        with _locked(file):
            for _ in range(_TRIES):
                before = _version(file)
                content = _content(file)
                known = _runs_in(content)
                new = {run_id: text for run_id, text in entries.items() if run_id not in known}
                if not new or _replaced(file, content, "\n".join(new.values()), before):
                    return list(new)
    except OSError as error:
        raise _trouble(file, error) from error
    raise PhaseError(f"{file}: another program keeps changing it. Run `mlflow-phases log` again to append the entries.")


def _trouble(file: Path, error: OSError) -> PhaseError:
    return PhaseError(
        f"{file}: {error.strerror or error}. Its content is kept. Fix that, then `mlflow-phases log` appends the "
        "missing entries."
    )


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    place = file.with_name(f".{file.name}.lock")
    # No soft lock where the file system has no locks: it would stay when its process is killed.
    lock = FileLock(
        place,
        timeout=_PATIENCE_SECONDS,
        mode=mode_of(file),
        poll_interval=_LOOK_EVERY_SECONDS,
        fallback_to_soft=False,
    )
    try:
        with report_periodically(lambda: f"waiting for another process that appends to {file}"):
            lock.acquire()
    except Timeout as error:
        raise PhaseError(
            f"{file}: another process has locked it for {_PATIENCE_SECONDS:.0f} s. `fuser {place}` shows that process. "
            "Once it has ended, `mlflow-phases log` appends the missing entries."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""


def _runs_in(content: bytes) -> set[str]:
    return {run_id.decode() for run_id in _RUN.findall(content)}


def _version(file: Path) -> tuple[int, ...]:
    """Return numbers that change with the content of a file; empty when there is none."""
    try:
        stat = file.stat()
    except FileNotFoundError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _replaced(file: Path, content: bytes, text: str, before: tuple[int, ...]) -> bool:
    """Replace a file by its content and a text; False when a person has saved the file since it was read."""
    new = file.with_name(f".{file.name}.new")
    try:
        write_synced(new, content + _separator(content).encode() + text.encode(), mode_of(file))
        if _version(file) != before:
            return False
        os.replace(new, file)
        sync_folder(file.parent)
        return True
    finally:
        new.unlink(missing_ok=True)


def _separator(content: bytes) -> str:
    """Return the text between the content and an entry: an empty line, in a new file the heading."""
    if not content:
        return f"{HEADING}\n"
    return "" if content.endswith(b"\n\n") else "\n" if content.endswith(b"\n") else "\n\n"
