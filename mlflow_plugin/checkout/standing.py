"""Compare what a run left in the project with what lies there now."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.checkout.placing import UNFINISHED, in_threads
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_states, read_digest
from mlflow_plugin.project.outputs import declared_names, is_declared
from mlflow_plugin.store import schema
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.outputs import manifest_fault, read_manifest, remedy
from mlflow_plugin.store.run import PhaseRun

__all__ = ["Standing", "compare", "digests_of", "project_files"]

_PREFIX = f"{schema.PROJECT_FILES}/"


@dataclass(frozen=True)
class Standing:
    """How the declared outputs of a phase lie in the project, against those of one run. Names, sorted.

    Attributes:
        missing: Files of the run that are not there.
        changed: Files of the run of which other bytes are there.
        extra: Files that are there and not the run's.
    """

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        """Return True when exactly the files of the run are there."""
        return not (self.missing or self.changed or self.extra)


def project_files(run: PhaseRun) -> dict[str, FileEntry]:
    """Return the files that a run left in the project, by their names there; empty when it left none.

    Raises:
        PhaseError: The manifest of the run cannot be read, or was replaced since the run completed.
    """
    sizes = run.outputs.get("sizes") if run.outputs else None
    if isinstance(sizes, Mapping) and not any(str(name).startswith(_PREFIX) for name in sizes):
        return {}
    manifest = read_manifest(run)
    if fault := manifest_fault(run, manifest):
        raise PhaseError(f"{run.phase} {run.short}: {fault}. {remedy(run)}")
    files = manifest.files
    return {name.removeprefix(_PREFIX): entry for name, entry in files.items() if name.startswith(_PREFIX)}


def compare(
    directory: Path, patterns: Sequence[str], files: Mapping[str, FileEntry], *, fresh: bool = False
) -> Standing:
    """Compare the files of a run with the project.

    Args:
        directory: The project's folder.
        patterns: The declared outputs of the run's phase.
        files: The files that the run left there. Those that are no longer declared are passed over.
        fresh: Read the bytes of each file again; else the digest of an unchanged one is remembered.

    Raises:
        PhaseError: Something lies there that is neither a file nor a folder, or cannot be read.
    """
    here = {name for name in declared_names(directory, patterns) if not _is_unfinished(name)}
    wanted = {name: entry for name, entry in files.items() if is_declared(patterns, name)}
    both = sorted(here & wanted.keys())
    digests = digests_of(directory, both, fresh=fresh)
    return Standing(
        missing=tuple(sorted(wanted.keys() - here)),
        changed=tuple(name for name in both if digests[name] != wanted[name].sha256),
        extra=tuple(sorted(here - wanted.keys())),
    )


def _is_unfinished(name: str) -> bool:
    return name.rpartition("/")[2].startswith(UNFINISHED)


def digests_of(directory: Path, names: Sequence[str], *, fresh: bool = False) -> dict[str, str]:
    """Return the sha256 of files of the project by name; see `compare`. Raises PhaseError."""
    paths = [os.path.join(directory, name) for name in names]
    if fresh:
        return dict(zip(names, in_threads(lambda path: read_digest(Path(path)), paths), strict=True))
    states = file_states(paths)
    return {name: states[path].sha256 for name, path in zip(names, paths, strict=True)}
