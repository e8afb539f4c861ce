"""Find the stored files of a run on this machine, verified, and lay them into the project."""

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.checkout.cache import cache_folder, cached_files
from mlflow_plugin.checkout.placing import in_threads, link, place
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import progress
from mlflow_plugin.project.digests import FileState, file_states, remember_written
from mlflow_plugin.project.vocabulary import Link
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.outputs import OutputFiles, remedy
from mlflow_plugin.store.run import PhaseRun

__all__ = ["Sources", "own_copies", "sources_of"]

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sources:
    """Verified files of a run on this machine.

    Attributes:
        files: Path and verified state, by the names that the files have in the project.
        link: How they are laid into the project.
        cached: They lie in the cache and are read-only; else in the store.
    """

    files: Mapping[str, tuple[Path, FileState]]
    link: Link
    cached: bool

    def lay(self, directory: Path, title: str) -> None:
        """Lay all files into a project, each over another one or to where there is none.

        Raises:
            OSError: A file cannot be read or written, or was changed since it was verified.
        """
        names = list(self.files)
        copied = sum(progress(in_threads(lambda name: self._lay(directory, name), names), len(names), title))
        if copied and self.link == "hard":
            _logger.warning(
                f"{copied} of {len(names)} files were copied into {directory}: hard links cannot lead there from "
                f"{cache_folder()}. Set XDG_CACHE_HOME to a folder on the same disk"
            )

    def _lay(self, directory: Path, name: str) -> bool:
        """Lay one file; return True when it was copied."""
        (source, state), target = self.files[name], os.path.join(directory, name)
        if self.link == "hard" and link(source, target):
            remember_written(target, state.sha256, state.mtime_ns)
            return False
        moment = place(source, target, like=not self.cached, signature="" if self.link == "hard" else state.signature)
        remember_written(target, state.sha256, moment)
        return True


def sources_of(run: PhaseRun, files: Mapping[str, FileEntry], how: Link) -> Sources:
    """Return files that a run left in its project.

    Those of a local store are used in place, unless they are to be hard links; all others are fetched into the cache.
    A file is read only where its digest is not remembered; one for a hard link is always read.

    Raises:
        PhaseError: A file is missing or damaged, or the store does not answer.
    """
    local = local_folder(run.artifact_uri)
    if local is None or how == "hard":
        return Sources(cached_files(run, files, fresh=how == "hard"), how, cached=True)
    folder = local / OutputFiles.of(run).folder / schema.PROJECT_FILES
    paths = {name: folder / name for name in files}
    states = file_states(paths.values())
    for name, path in paths.items():
        if states[path].sha256 != files[name].sha256:
            raise PhaseError(f"{run.phase} {run.short}: {path} has other bytes than when it was stored. {remedy(run)}")
    return Sources({name: (path, states[path]) for name, path in paths.items()}, how, cached=False)


def own_copies(files: Iterable[Path]) -> None:
    """Replace files of a project that are hard links by writable copies, before a phase may write into them.

    Raises:
        OSError: A file cannot be read or written.
    """
    for path in files:
        if path.stat().st_nlink > 1:
            place(path, path, like=False)
