"""Files that are there whole or not at all."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from mlflow_plugin.errors import PhaseError


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that whoever reads it at any moment finds the old content or the new. Raises PhaseError."""
    temporary = ""
    try:
        folder = file.resolve().parent
        descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode(file))
        os.replace(temporary, file.resolve())
    except OSError as error:
        with suppress(OSError):
            os.unlink(temporary)
        raise PhaseError(
            f"{file}: {error.strerror or error}. It was left as it was. Name another place with --output."
        ) from error


def _mode(file: Path) -> int:
    """The permissions that the file has, or that a new one gets."""
    try:
        return file.stat().st_mode & 0o777
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
