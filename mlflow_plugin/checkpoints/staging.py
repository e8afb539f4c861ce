"""Temporary folders whose leftovers are removed: a process that is killed cannot do it, the next one can."""

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
    """An empty folder for as long as the block is open. Removes those whose process has died."""
    _remove_abandoned()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as made, open(Path(made, "unlocked"), "wb") as lock:
        # The system gives up a lock whose process ends, however it ends. Only locked does it bear the name looked for.
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(Path(made, _LOCK))
        folder = Path(made, "files")
        folder.mkdir()
        yield folder


def _remove_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), open(lock, "rb+") as held:  # Locked: in use. Not to be opened: somebody else's.
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
