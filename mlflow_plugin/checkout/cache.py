"""Keep files of runs on this machine by their digest: those of remote stores, and those that hard links lead to.

They are read-only. A file whose bytes have changed, by a write through a hard link or otherwise, is replaced from the
store, and a warning says so. The folder may be deleted at any time.
"""

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_plugin.checkout.placing import UNFINISHED, give_own_time, in_threads, place
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import progress
from mlflow_plugin.project.digests import FileState, file_states, read_digest, remember_written, signature_of
from mlflow_plugin.store.artifacts import local_folder, unreachable
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.mlflow_internals import download_artifact
from mlflow_plugin.store.outputs import OutputFiles, remedy
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.schema import PROJECT_FILES

__all__ = ["cache_folder", "cached_files"]

_logger = logging.getLogger(__name__)

_NO_WRITE = 0o555
_DOWNLOADS = 8
Fetch = Callable[[str, Path], object]


def cache_folder() -> Path:
    """Return the folder of the cached files."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-phases" / "files"


def cached_files(run: PhaseRun, files: Mapping[str, FileEntry], *, fresh: bool) -> dict[str, tuple[Path, FileState]]:
    """Return verified files of the cache for files of a run, by name. What is missing is fetched from the store.

    Args:
        run: The run, for what has to be fetched.
        files: The files that it left in the project, by their names there.
        fresh: Read the bytes of each file again; else the digest of an unchanged one is remembered.

    Raises:
        PhaseError: A file is missing in the store or damaged, or the store does not answer.
    """
    fetch, is_executable = _from_store(run)
    paths = {name: _path(entry.sha256, is_executable(name)) for name, entry in files.items()}
    here = file_states([path for path in paths.values() if path.is_file()]) if not fresh else {}

    def one(name: str) -> tuple[Path, FileState]:
        path, sha256 = paths[name], files[name].sha256
        found = _read_state(path) if fresh else here.get(path)
        if found is None or found.sha256 != sha256:
            if found is not None:
                _logger.warning(
                    f"{run.phase} {run.short}: the cached copy of {name} ({path}) was changed, and is replaced from "
                    "the store"
                )
            found = _renew(run, name, sha256, path, fetch)
        return path, found

    names = list(files)
    workers = 0 if local_folder(run.artifact_uri) else _DOWNLOADS
    taken = progress(in_threads(one, names, workers), len(names), f"fetching {run.phase} {run.short}")
    return dict(zip(names, taken, strict=True))


def _path(sha256: str, is_executable: bool) -> Path:
    return cache_folder() / sha256[:2] / (f"{sha256}.x" if is_executable else sha256)


def _read_state(path: Path) -> FileState | None:
    """Return the state of a cached file, by its bytes; None when it is not there."""
    if not path.is_file():
        return None
    status = path.stat()
    return FileState(read_digest(path), status.st_size, status.st_mtime_ns, signature_of(status))


def _renew(run: PhaseRun, name: str, sha256: str, path: Path, fetch: Fetch) -> FileState:
    """Fetch a file into the cache, in place of a wrong one."""
    unfinished = path.parent / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetch(name, unfinished)
        if read_digest(unfinished) != sha256:
            raise PhaseError(f"{run.phase} {run.short}: {name} has other bytes than when it was stored. {remedy(run)}")
        unfinished.chmod(unfinished.stat().st_mode & _NO_WRITE)
        moment = give_own_time(unfinished)
        os.replace(unfinished, path)
        status = path.stat()
    except (MlflowException, OSError) as error:
        raise unreachable(f"{run.artifact_uri}: {name}", error) from None
    finally:
        with suppress(OSError):
            unfinished.unlink()
    remember_written(path, sha256, moment)
    return FileState(sha256, status.st_size, status.st_mtime_ns, signature_of(status))


def _from_store(run: PhaseRun) -> tuple[Fetch, Callable[[str], bool]]:
    """Return functions that fetch a file of a run to a path, and that say if it is executable in the store."""
    below = f"{OutputFiles.of(run).folder}/{PROJECT_FILES}".removeprefix("/")
    local = local_folder(run.artifact_uri)
    if local is not None:
        folder = local / below
        return lambda name, to: place(folder / name, to), lambda name: os.access(folder / name, os.X_OK)
    repository = get_artifact_repository(run.artifact_uri)
    return lambda name, to: download_artifact(repository, f"{below}/{name}", str(to)), lambda name: False
