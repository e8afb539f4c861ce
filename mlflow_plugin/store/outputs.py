"""The outputs of a run: list them, check that they are there, gather and fetch them verified."""

import hashlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import TRUNCATED_AT, unquoted
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import listing, local_folder, unreachable
from mlflow_plugin.store.manifest import Manifest, entries_of, safe_relative_path
from mlflow_plugin.store.mlflow_internals import download_artifact
from mlflow_plugin.store.run import PhaseRun

MODELS = "models"
"""The folder below which the files of logged models appear among the outputs."""
_BOOKKEEPING = {f"{schema.OUTPUTS_FOLDER}/{schema.MANIFEST_FILE}", schema.CODE_FILE}
_BOOKKEEPING |= {schema.ENVIRONMENT_FILE, schema.READS_FILE}
_OWN_FOLDERS = {schema.CHECKPOINTS_FOLDER, schema.CODE_FILE.partition("/")[0]}


@dataclass(frozen=True)
class OutputFiles:
    """Where the outputs of a run lie: below `folder` of its artifacts, and in the MLflow models that it logged.

    Attributes:
        folder: The folder; empty for all artifacts.
        models: Logged models by name; their files appear as `models/NAME/...`.
        sizes: Bytes by path; None when the list was too long for a tag and stands in the manifest alone.
    """

    folder: str = schema.OUTPUTS_FOLDER
    models: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, int] | None = None

    def to_tag(self) -> str:
        content: dict[str, Any] = {"folder": self.folder, "models": dict(self.models), "sizes": self.sizes}
        text = json.dumps(content, separators=(",", ":"))
        return text if len(text) <= schema.TAG_LENGTH else json.dumps({**content, "sizes": None}, separators=(",", ":"))

    @classmethod
    def of(cls, run: PhaseRun) -> "OutputFiles":
        raw = run.outputs or {}
        models, sizes = raw.get("models"), raw.get("sizes")
        folder = str(raw.get("folder", schema.OUTPUTS_FOLDER))
        # Anybody who may write to the store can write this tag, and files are written to disk by it.
        for name in filter(None, [folder, *(models if isinstance(models, dict) else {})]):
            safe_relative_path(name)
        return cls(folder, models if isinstance(models, dict) else {}, sizes if isinstance(sizes, dict) else None)


def missing(client: MlflowClient, run: PhaseRun) -> tuple[str, ...]:
    """Say which of a run's outputs are missing or have another size, one sentence each; empty when all are there."""
    where = OutputFiles.of(run)
    sizes = where.sizes
    if sizes is None:
        try:
            manifest = read_manifest(run)
        except PhaseError as error:
            return (str(error),)
        sizes = {path: entry.size for path, entry in manifest.files.items()}
    local = local_folder(run.artifact_uri)
    present: dict[str, int] = {}
    if local is not None:
        # A stat for each file is all that a local store needs.
        for path in sizes:
            with suppress(OSError):
                present[path] = (local / where.folder / path).stat().st_size
    else:
        present = listing(run.artifact_uri, where.folder)
    for name, model_id in where.models.items():
        present |= {f"{MODELS}/{name}/{path}": size for path, size in _model_listing(client, model_id).items()}
    return tuple(
        f"{path} is gone" if path not in present else f"{path} has {present[path]} bytes instead of {size}"
        for path, size in sizes.items()
        if present.get(path) != size
    )


def _model_listing(client: MlflowClient, model_id: str) -> dict[str, int]:
    model = _logged_model(client, model_id)
    return listing(model.artifact_location) if model else {}


def _logged_model(client: MlflowClient, model_id: str) -> LoggedModel | None:
    try:
        return client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def logged_models(client: MlflowClient, run_id: str) -> list[LoggedModel]:
    """Return the MLflow models that a run logged, in the order of their steps and times. A deleted one is left out."""
    outputs = client.get_run(run_id).outputs
    listed = {output.model_id: output.step for output in (outputs.model_outputs if outputs else [])}
    models = [model for model_id in listed if (model := _logged_model(client, model_id)) is not None]
    return sorted(models, key=lambda model: (listed[model.model_id], model.creation_timestamp, model.model_id))


def gather_outputs(client: MlflowClient, run: PhaseRun, folder: str, target: Path) -> tuple[Manifest, OutputFiles]:
    """Read back the outputs that the store holds below `folder`, and the run's models, to digest them.

    Args:
        client: Reads the store.
        run: The run.
        folder: A folder of its artifacts; empty for all of them.
        target: A local folder for what a remote store holds.
    """
    files, models = _held(run.artifact_uri, folder, target), dict[str, str]()
    for model in logged_models(client, run.run_id):
        name = _free_name(str(safe_relative_path(model.name or model.model_id)), files)
        models[name] = model.model_id
        within = f"{MODELS}/{name}"
        held = _held(model.artifact_location, None, target / within)
        files |= {f"{within}/{path}": file for path, file in held.items()}
    manifest = Manifest(entries_of(files))
    sizes = {path: entry.size for path, entry in manifest.files.items()}
    return manifest, OutputFiles(folder, models, sizes)


def _free_name(name: str, files: Collection[str]) -> str:
    """Return a name that nothing in `models` has: a run may log several models of one name, and files beside them."""
    taken = [path.removeprefix(f"{MODELS}/") for path in files if path.startswith(f"{MODELS}/")]
    free, number = name, 2
    while any(path == free or path.startswith(f"{free}/") for path in taken):
        free, number = f"{name}-{number}", number + 1
    return free


def _fetch(artifact_uri: str, below: str | None, target: Path) -> None:
    """Copy (on a local store: link) everything that `_held` returns into `target`."""
    for name, path in _held(artifact_uri, below, target).items():
        destination = target / name
        if path != destination:
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.symlink_to(path.resolve())


def _held(artifact_uri: str, below: str | None, target: Path) -> dict[str, Path]:
    """Return what a store holds below a folder, by name, without the plugin's own files.

    Args:
        artifact_uri: The artifacts of a run, or of a model.
        below: The folder; empty for all of a run, None for a model, in which no file is the plugin's.
        target: A local folder for what a remote store holds. Files of a local one are used in place.
    """
    held: dict[str, Path] = {}
    local, folder = local_folder(artifact_uri), below or ""
    names_found = listing(artifact_uri, folder)
    repository: ArtifactRepository | None = None if local else get_artifact_repository(artifact_uri)
    for path in names_found:
        own = (
            path.split("/", 1)[0] in _OWN_FOLDERS or path in _BOOKKEEPING
            if not folder
            else path == schema.MANIFEST_FILE
        )
        if below is not None and own:
            continue
        name = str(safe_relative_path(path))
        if local is not None:
            held[name] = local / folder / path
        elif repository is not None:
            held[name] = target / name
            held[name].parent.mkdir(parents=True, exist_ok=True)
            download_artifact(repository, f"{folder}/{path}" if folder else path, str(held[name]))
    return held


def read_manifest(run: PhaseRun) -> Manifest:
    """Return the manifest of a run's outputs. Raises PhaseError when it is gone or malformed."""
    path = f"{schema.OUTPUTS_FOLDER}/{schema.MANIFEST_FILE}"
    local = local_folder(run.artifact_uri)
    try:
        if local is not None:
            text = (local / path).read_text(encoding="utf-8")
        else:
            with tempfile.TemporaryDirectory() as folder:
                found = get_artifact_repository(run.artifact_uri).download_artifacts(path, folder)
                text = Path(found).read_text(encoding="utf-8")
    except (OSError, MlflowException) as error:
        what = " ".join(str(error).split())
        raise PhaseError(f"{run.phase} {run.short}: {path} cannot be read: {what}. {remedy(run)}") from None
    return Manifest.from_json(text)


def inputs_cache() -> Path:
    """Return the folder for outputs that were fetched from a remote store, by digest."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlflow-phases" / "inputs"


def fetch_outputs(client: MlflowClient, run: PhaseRun, cache: Path) -> Path:
    """Return a folder with a run's outputs, every byte checked against its manifest.

    A local store is used in place. Files of a remote one are kept below `cache`, one folder for each output digest.

    Raises:
        PhaseError: A file is missing, or its bytes have changed since the run completed.
    """
    where, manifest = OutputFiles.of(run), read_manifest(run)
    if fault := manifest_fault(run, manifest):
        raise _damaged(run, [fault])
    local = local_folder(run.artifact_uri)
    if local is not None and not where.models:
        folder = local / where.folder
    else:
        folder = cache / hashlib.sha256(f"{run.run_id}{run.output_digest}".encode()).hexdigest()[:16]
        if not folder.exists():
            _download(client, run, where, manifest, folder)
    if faults := manifest.verify(folder):
        raise _damaged(run, faults)
    return folder


def manifest_fault(run: PhaseRun, manifest: Manifest) -> str | None:
    """Say that a run's manifest is not the one that it completed with: its digest is a tag of the run."""
    digest = manifest.digest if manifest.files else digest_without_files(run)
    if digest == run.output_digest:
        return None
    return f"its manifest was replaced since it completed: the digest is not that of the tag {schema.OUTPUT_DIGEST}"


def digest_without_files(run: PhaseRun) -> str:
    """Return the digest of a run that left no files: made otherwise, it must not look the same to later phases."""
    return value_digest(["no outputs", run.fingerprint])


def remedy(run: PhaseRun) -> str:
    """Say what to do when a run's outputs cannot be used: the command computes it again, with its parameters."""
    # Without the backend, MLflow would hand a `decide` that is not declared to the script.
    own = Path(run.source) if os.path.isabs(run.source) and os.path.isdir(run.source) else None
    given = {
        name: unquoted(text)
        for name, text in run.parameters.items()
        if len(text) < TRUNCATED_AT and name not in ("decide", "price_per_hour") and not name.endswith("_run_id")
    }
    entry_point = run.own_phase if own else run.phase
    asked_as = Invocation(own or Path.cwd(), entry_point, given, backend="phases", experiment_id=run.experiment_id)
    command = asked_as.command(decide="rerun")
    return f"Run `{command}`, or choose another run with -P {run.phase}_run_id=RUN."


def _damaged(run: PhaseRun, faults: list[str]) -> PhaseError:
    return PhaseError(f"{run.phase} {run.short}: its outputs are damaged: {'; '.join(faults[:3])}. {remedy(run)}")


def _download(client: MlflowClient, run: PhaseRun, where: OutputFiles, manifest: Manifest, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        staged = Path(temporary) / "outputs"
        staged.mkdir()
        try:
            _fetch(run.artifact_uri, where.folder, staged)
            for name, model_id in where.models.items():
                _fetch(client.get_logged_model(model_id).artifact_location, None, staged / MODELS / name)
        except (MlflowException, OSError) as error:
            raise unreachable(run.artifact_uri, error) from None
        if faults := manifest.verify(staged):  # Damaged files must not be kept: the store may be repaired.
            raise _damaged(run, faults)
        with suppress(OSError):  # Another process may have been first: its folder is as good.
            staged.rename(folder)
