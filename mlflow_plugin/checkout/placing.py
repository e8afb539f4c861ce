"""Copy and link files so that a crash leaves the old one or the new one; share blocks where the file system can."""

import errno
import io
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from mlflow_plugin.project.digests import signature_of

__all__ = ["UNFINISHED", "give_own_time", "in_threads", "link", "place"]

UNFINISHED = ".mlflow-phases-"
"""The beginning of the names of files that are being written. One that is left by a crash may be removed."""

_NOT_HERE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES}
_PIECE = 1 << 30
_CHUNK = 32
Item = TypeVar("Item")
Result = TypeVar("Result")


def place(source: Path | str, target: Path | str, *, like: bool = True, signature: str = "") -> int:
    """Copy a file over another one, or to where there is none.

    Args:
        source: The file.
        target: The place of the copy; missing folders are made.
        like: Give the copy the permissions of the file; else those of a new file, executable when the file is.
        signature: The state in which the file was verified, as `signature_of` writes it.

    Returns:
        The modification time of the copy in nanoseconds, which no later write leaves; see `remember_written`.

    Raises:
        OSError: The file cannot be read or written, or is not in the state in which it was verified. The old one is as
            it was.
    """
    unfinished = _unfinished(target)
    with open(source, "rb", buffering=0) as reading:
        before = os.fstat(reading.fileno())
        try:
            with _created(unfinished) as writing:
                _copy(reading.fileno(), writing.fileno(), before.st_size)
                if signature and {signature_of(before), signature_of(os.fstat(reading.fileno()))} != {signature}:
                    raise OSError(errno.EIO, "it was changed while it was copied", str(source))
                new = stat.S_IMODE(os.fstat(writing.fileno()).st_mode)
                executable = before.st_mode & stat.S_IXUSR
                mode = stat.S_IMODE(before.st_mode) if like else new | ((new & 0o444) >> 2 if executable else 0)
                if mode != new:
                    os.chmod(unfinished, mode)
                moment = give_own_time(unfinished)
            os.replace(unfinished, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished)
            raise
    return moment


def give_own_time(path: Path | str) -> int:
    """Set the modification time of a file that this process has written to now; see `remember_written`.

    Returns:
        The time in nanoseconds; it is not in force where the file system takes none.
    """
    moment = time.time_ns() | 1
    with suppress(OSError):
        os.utime(path, ns=(moment, moment))
    return moment


def link(source: Path | str, target: Path | str) -> bool:
    """Lay a hard link over a file, or where there is none; return False where the file system refuses hard links.

    Raises:
        OSError: The link cannot be made for another reason. The old file is as it was.
    """
    unfinished = _unfinished(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, unfinished)
        os.replace(unfinished, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        return False
    finally:
        with suppress(OSError):  # It is left when both were links to one file already.
            os.unlink(unfinished)
    return True


def in_threads(work: Callable[[Item], Result], items: Sequence[Item], workers: int = 0) -> Iterator[Result]:
    """Yield the results for all items in order, computed by a few threads. The first error ends it.

    Args:
        work: Called with each item.
        items: The items, of which each thread takes some at a time.
        workers: The number of threads; one for each core, and from 2 to 4, unless given.
    """

    def some(start: int) -> list[Result]:
        return [work(item) for item in items[start : start + _CHUNK]]

    workers = workers or max(2, min(4, os.cpu_count() or 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="files") as pool:
        for results in pool.map(some, range(0, len(items), _CHUNK)):
            yield from results


def _unfinished(target: Path | str) -> str:
    return os.path.join(os.path.dirname(target), f"{UNFINISHED}{uuid.uuid4().hex}")


def _created(path: str) -> io.FileIO:
    try:
        return io.FileIO(path, "xb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return io.FileIO(path, "xb")


def _copy(reading: int, writing: int, size: int) -> None:
    """Copy the bytes. `copy_file_range` shares them on Btrfs and XFS, and copies inside the kernel elsewhere."""
    left = size
    try:
        while left > 0 and hasattr(os, "copy_file_range"):
            copied = os.copy_file_range(reading, writing, min(left, _PIECE))
            if not copied:
                break
            left -= copied
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        os.lseek(reading, 0, os.SEEK_SET)
        os.lseek(writing, 0, os.SEEK_SET)
        os.ftruncate(writing, 0)
        left = 1
    if left:
        with open(reading, "rb", closefd=False) as source, open(writing, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, 1 << 20)
