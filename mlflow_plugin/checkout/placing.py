"""Copy files so that a crash leaves the old one or the new one, and share their blocks where the file system can."""

import errno
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

__all__ = ["UNFINISHED", "place"]

UNFINISHED = ".mlflow-phases-"
"""The beginning of the names of files that are being written. One that is left by a crash may be removed."""

_NOT_HERE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}
_PIECE = 1 << 30


def place(source: Path, target: Path) -> None:
    """Copy a file over another one, or to where there is none.

    Raises:
        OSError: The file cannot be read or written. The old one is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        _copy(source, unfinished)
        shutil.copymode(source, unfinished)
        os.replace(unfinished, target)
    except BaseException:
        with suppress(OSError):
            unfinished.unlink()
        raise


def _copy(source: Path, target: Path) -> None:
    """Copy the bytes. `copy_file_range` shares them on Btrfs and XFS, and copies inside the kernel elsewhere."""
    with open(source, "rb") as reading, open(target, "xb") as writing:
        left = os.fstat(reading.fileno()).st_size
        try:
            while left > 0 and hasattr(os, "copy_file_range"):
                copied = os.copy_file_range(reading.fileno(), writing.fileno(), min(left, _PIECE))
                if not copied:
                    break
                left -= copied
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            reading.seek(0)
            writing.seek(0)
            writing.truncate()
            left = 1
        if left:
            shutil.copyfileobj(reading, writing, 1 << 20)
