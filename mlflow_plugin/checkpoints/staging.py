"""Temporary folders that the next process removes when theirs was killed.

Written here because `tempfile` leaves a folder behind when its process is killed, and checkpoints are large.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "mlflow-phases-"
_LOCK = ".lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create an empty folder for the duration of the block. Removes first those of processes that have ended."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as created, open(Path(created, "unlocked"), "wb") as lock:
        # The kernel releases the lock when its process ends, however it ends. The file gets the name that
        # `_remove_abandoned` looks for only once it is locked.
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(Path(created, _LOCK))
        folder = Path(created, "files")
        folder.mkdir()
        yield folder


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        # An OSError means that the folder is in use (locked) or belongs to another user (cannot be opened).
        with suppress(OSError), open(lock, "rb+") as abandoned:
            fcntl.flock(abandoned, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
