"""Files that are replaced as a whole, so that a reader finds the old content or the new.

These few lines are home-made: the standard library has no function for this, and `filelock` only locks.
"""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow_plugin.errors import PhaseError


def write_whole(file: Path, text: str) -> None:
    """Replace a file by a text. Raises PhaseError when it cannot be written; the file is then as it was."""
    temporary = ""
    try:
        folder = file.resolve().parent
        # A name of its own for each writer: unlike the experiment log, these files have no lock.
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
        os.close(descriptor)
        write_synced(Path(temporary), text.encode(), mode_of(file))
        os.replace(temporary, file.resolve())
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise PhaseError(
            f"{file}: {error.strerror or error}. It was left as it was. Name another place with --output."
        ) from error


def write_synced(file: Path, content: bytes, mode: int) -> None:
    """Write a file with these permissions, and wait until it is on the disk."""
    with file.open("wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a renaming in a folder is on the disk, where the file system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def mode_of(file: Path) -> int:
    """Return the permissions of a file, or those that a new one gets."""
    try:
        return file.stat().st_mode & 0o777
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
