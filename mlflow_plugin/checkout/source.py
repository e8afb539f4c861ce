"""Find the stored files of a run on this machine, verified."""

from collections.abc import Mapping
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import file_digest
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.outputs import OutputFiles, fetch_outputs, inputs_cache, remedy
from mlflow_plugin.store.run import PhaseRun

__all__ = ["project_files_of"]


def project_files_of(client: MlflowClient, run: PhaseRun, files: Mapping[str, FileEntry]) -> Path:
    """Return a folder with files that a run left in its project, by their names there.

    Those of a local store are used in place, and read only where their digest is not remembered.

    Raises:
        PhaseError: A file is missing or damaged, or the store does not answer.
    """
    local = local_folder(run.artifact_uri)
    if local is None:
        return fetch_outputs(client, run, inputs_cache()) / schema.PROJECT_FILES
    folder = local / OutputFiles.of(run).folder / schema.PROJECT_FILES
    for name, entry in files.items():
        if file_digest(folder / name) != entry.sha256:
            raise PhaseError(
                f"{run.phase} {run.short}: {folder / name} has other bytes than when it was stored. {remedy(run)}"
            )
    return folder
