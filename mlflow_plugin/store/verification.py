"""Verify the outputs of a run before another phase computes on them.

The tag `phase.output_digest` is what the identity of later phases holds, so the manifest must agree with it, and the
files with the manifest: a file that was damaged, or replaced together with its manifest, is never computed on.
"""

from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.project.content import content_digest
from mlflow_plugin.project.digests import file_digest
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.manifest import FileEntry
from mlflow_plugin.store.outputs import MODELS, OutputFiles, manifest_fault, missing, read_manifest
from mlflow_plugin.store.run import PhaseRun


def output_faults(client: MlflowClient, run: PhaseRun) -> list[str]:
    """Return the faults of a run's outputs, one sentence each; empty when they are what the run has made.

    Files of a local store are compared by their bytes; of an unchanged file the digest is remembered. Files of a remote
    store are compared by their sizes here, and by their bytes when they are fetched.

    Raises:
        NewerFormatError: A newer version of this package wrote the manifest.
        PhaseError, MlflowException: The store does not answer.
    """
    if faults := missing(client, run):
        return list(faults)
    try:
        manifest = read_manifest(run)
    except NewerFormatError:
        raise
    except PhaseError as error:
        return [str(error)]
    if fault := manifest_fault(run, manifest):
        return [fault]
    folders = local_folders(client, run)
    return [fault for name, entry in manifest.files.items() if (fault := _fault(name, entry, folders))]


def local_folders(client: MlflowClient, run: PhaseRun) -> dict[str, Path]:
    """Return the folders of a run's files by the beginning of their names, as far as they lie on a local store."""
    where = OutputFiles.of(run)
    local = local_folder(run.artifact_uri)
    folders = {} if local is None else {"": local / where.folder}
    for name, model_id in where.models.items():
        if (model := local_folder(client.get_logged_model(model_id).artifact_location)) is not None:
            folders[f"{MODELS}/{name}/"] = model
    return folders


def _fault(name: str, entry: FileEntry, folders: dict[str, Path]) -> str | None:
    beginning = max((one for one in folders if name.startswith(one)), key=len, default=None)
    if beginning is None:
        return None
    path = folders[beginning] / name.removeprefix(beginning)
    try:
        same = file_digest(path) == entry.sha256 and entry.content in (None, content_digest(path))
    except PhaseError as error:
        return str(error)
    return None if same else f"{name} has other bytes than when it was written"
