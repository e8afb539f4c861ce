"""Compare what a run left in the project with what lies there now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.checkout.placing import UNFINISHED
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest
from mlflow_plugin.project.outputs import declared_files, is_declared
from mlflow_plugin.store import schema
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.outputs import read_manifest
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
        PhaseError: The manifest of the run cannot be read.
    """
    sizes = run.outputs.get("sizes") if run.outputs else None
    if isinstance(sizes, Mapping) and not any(str(name).startswith(_PREFIX) for name in sizes):
        return {}
    files = read_manifest(run).files
    return {name.removeprefix(_PREFIX): entry for name, entry in files.items() if name.startswith(_PREFIX)}


def compare(directory: Path, patterns: Sequence[str], files: Mapping[str, FileEntry]) -> Standing:
    """Compare the files of a run with the project. An unchanged file is not read: its digest is remembered.

    Args:
        directory: The project's folder.
        patterns: The declared outputs of the run's phase.
        files: The files that the run left there. Those that are no longer declared are passed over.

    Raises:
        PhaseError: Something lies there that is neither a file nor a folder, or cannot be read.
    """
    here = {name for name, path in declared_files(directory, patterns).items() if not path.name.startswith(UNFINISHED)}
    wanted = {name: entry for name, entry in files.items() if is_declared(patterns, name)}
    return Standing(
        missing=tuple(sorted(set(wanted) - here)),
        changed=tuple(sorted(name for name in here & set(wanted) if _differs(directory / name, wanted[name]))),
        extra=tuple(sorted(here - set(wanted))),
    )


def _differs(path: Path, entry: FileEntry) -> bool:
    try:
        return path.stat().st_size != entry.size or file_digest(path) != entry.sha256
    except OSError as error:
        raise PhaseError(f"{path} cannot be read: {error.strerror}. Check its permissions.") from None


def digests_of(directory: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the sha256 of files of the project by name."""
    return {name: file_digest(directory / name) for name in names}
