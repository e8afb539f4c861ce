"""Keep the files of a phase in one checkout as they are while another phase reads them."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from filelock import ReadWriteLock, Timeout

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.project import OWN_FOLDER
from mlflow_plugin.store.schema import phase_key

__all__ = ["is_being_written", "own_folder", "reading", "writing"]

_logger = logging.getLogger(__name__)

_ATTEMPT_SECONDS = 2.0
_TELL_EVERY_SECONDS = 60.0


def own_folder(directory: Path) -> Path:
    """Return the folder of a project for locks and for files that were moved aside; git passes over it.

    Raises:
        PhaseError: It cannot be made.
    """
    folder = directory / OWN_FOLDER
    try:
        folder.mkdir(exist_ok=True)
        ignored = folder / ".gitignore"
        if not ignored.exists():
            ignored.write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise PhaseError(
            f"{folder} cannot be made: {error.strerror}. Phases with `outputs:` write into the project's folder."
        ) from None
    return folder


def reading(directory: Path, phase: str) -> AbstractContextManager[None]:
    """Hold the files that a phase left in a checkout as they are inside the block. Others may read them too."""
    lock = _lock(directory, phase)
    return _held(lock, lock.acquire_read, f"{phase}: its files in {directory} are being written by another phase")


def writing(directory: Path, phase: str) -> AbstractContextManager[None]:
    """Be the only one that reads or writes the files of a phase in a checkout inside the block."""
    lock = _lock(directory, phase)
    return _held(lock, lock.acquire_write, f"{phase}: its files in {directory} are in use by another phase")


def is_being_written(directory: Path, phase: str) -> bool:
    """Return whether a phase in a checkout computes now, or its files are put back. Nothing is made for the answer."""
    if not _path(directory, phase).exists():
        return False
    lock = ReadWriteLock(_path(directory, phase), is_singleton=False)
    try:
        lock.acquire_read(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


@contextmanager
def _held(lock: ReadWriteLock, acquire: Callable[..., Any], waiting_for: str) -> Iterator[None]:
    _acquire(acquire, waiting_for)
    try:
        yield
    finally:
        lock.release()


def _lock(directory: Path, phase: str) -> ReadWriteLock:
    own_folder(directory)
    return ReadWriteLock(_path(directory, phase), is_singleton=False)


def _path(directory: Path, phase: str) -> Path:
    return directory / OWN_FOLDER / f"{phase_key('', phase)}.lock"


def _acquire(acquire: Callable[..., Any], waiting_for: str) -> None:
    told = -_TELL_EVERY_SECONDS
    while True:
        try:
            acquire(timeout=_ATTEMPT_SECONDS)
            return
        except Timeout:
            if time.monotonic() - told > _TELL_EVERY_SECONDS:
                told = time.monotonic()
                _logger.info(f"{waiting_for}; waiting until it has ended")
