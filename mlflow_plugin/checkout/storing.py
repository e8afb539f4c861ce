"""Upload the files that a phase has left in its project."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.checkout.placing import UNFINISHED, in_threads, place
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.content import content_digest
from mlflow_plugin.project.digests import BYTES, digest_of_equal, read_digest, remember_written, remembered
from mlflow_plugin.project.outputs import declared_files
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.manifest import FileEntry, entries_of
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.schema import PROJECT_FILES

__all__ = ["declared_outputs", "upload"]


def declared_outputs(project: Project, phase: Phase) -> dict[str, Path]:
    """Return the files that a phase has left under its declared outputs, by their names in the project.

    Raises:
        PhaseError: A declared output is not there, or one of its files cannot be kept.
    """
    every: dict[str, Path] = {}
    for pattern in phase.outputs or ():
        files = declared_files(project.directory, [pattern])
        found = {name: path for name, path in files.items() if not path.name.startswith(UNFINISHED)}
        if not found:
            raise PhaseError(
                f"{phase.name} declares the output {pattern!r}, and left nothing there ({project.directory}). Correct "
                f"`outputs:` in {project.file.name}, or the phase's script, and run it again."
            )
        every |= found
    return every


def upload(client: MlflowClient, run: PhaseRun, files: Mapping[str, Path], within: str) -> dict[str, FileEntry]:
    """Upload files of a project as artifacts of a run.

    Args:
        client: Writes to the store.
        run: The run.
        files: The files, by their names in the project.
        within: The folder of the outputs among the artifacts; empty for all of them.

    Returns:
        The files as they were sent, by their names among the outputs.

    Raises:
        PhaseError: A file cannot be read or stored, or changes meanwhile.
    """
    local = local_folder(run.artifact_uri)
    if local is not None:
        return _copied(run, files, local / within)
    entries = {f"{PROJECT_FILES}/{name}": entry for name, entry in entries_of(files).items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            link = Path(folder) / PROJECT_FILES / name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        if files:
            client.log_artifacts(run.run_id, folder, within or None)
    return entries


def _copied(run: PhaseRun, files: Mapping[str, Path], folder: Path) -> dict[str, FileEntry]:
    """Copy files into a local store, and read back what it holds. Each file is read once for both.

    MLflow would copy them one after the other, and the digests of both sides would then read them twice more. Links to
    the files, which it would need in one folder, take longer to remove than the files to copy.
    """

    def one(name: str) -> tuple[str, FileEntry]:
        path, stored = files[name], os.path.join(folder, PROJECT_FILES, name)
        moment, compared = place(path, stored), False

        def compare(_: Path) -> str:
            nonlocal compared
            compared = True
            return digest_of_equal(path, stored)

        sha256 = remembered(path, BYTES, compare)
        if not compared and read_digest(Path(stored)) != sha256:
            sha256 = ""
        if not sha256:
            raise PhaseError(
                f"{run.phase} {run.short}: {path} was changed while it was stored, or {stored} does not hold it as it "
                "was sent. The run is not complete; run it again."
            )
        remember_written(stored, sha256, moment)
        content = content_digest(path, sha256)
        size = os.path.getsize(stored)
        return f"{PROJECT_FILES}/{name}", FileEntry(sha256, size, content if content != sha256 else None)

    try:
        return dict(in_threads(one, list(files)))
    except OSError as error:
        raise PhaseError(
            f"{run.phase} {run.short}: its files could not be stored in {folder}: {error.filename}: {error.strerror}. "
            "The run is not complete; correct that, and run it again."
        ) from None
