"""The end of a computed phase: read back what the store holds, digest it, and record the run as complete."""

import logging
import tempfile
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.quality import borderline_reasons
from mlflow_plugin.errors import PhaseError, TakenOverError
from mlflow_plugin.execution.records import Completion, Records, Work
from mlflow_plugin.execution.run_description import completed
from mlflow_plugin.format import describe_duration
from mlflow_plugin.machine.prices import cost_usd
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import gather_outputs
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)


def publish_outputs(client: MlflowClient, run: PhaseRun, staged: Path) -> Manifest:
    """Upload a folder of outputs, the manifest last.

    Returns:
        The manifest of the folder, to be compared with what the store holds.
    """
    manifest = Manifest.of(staged)
    if manifest.files:
        client.log_artifacts(run.run_id, str(staged), schema.OUTPUTS_FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / schema.MANIFEST_FILE
        file.write_text(manifest.to_json(), encoding="utf-8")
        client.log_artifact(run.run_id, str(file), schema.OUTPUTS_FOLDER)
    return manifest


def complete_work(
    records: Records, run_id: str, work: Work, duration_seconds: float, *, staged: Path | None = None
) -> None:
    """Record a phase as complete.

    Args:
        records: Writes to the store.
        run_id: The run that computed.
        work: The request and its inputs.
        duration_seconds: Computing time of all its segments.
        staged: The folder with the declared outputs; without it, everything that the run logged is its output.

    Raises:
        PhaseError: A file did not arrive as it was sent; the run is then not complete.
        TakenOverError: Another run has taken over the work.
    """
    phase = work.request.phase
    _check_owner(records, run_id)
    run = phase_run(records.client.get_run(run_id))
    with tempfile.TemporaryDirectory() as folder:
        if staged is not None:
            sent = publish_outputs(records.client, run, staged)
            held, outputs = gather_outputs(records.client, run, schema.OUTPUTS_FOLDER, Path(folder))
            if faults := [path for path in sent.files if held.files.get(path) != sent.files[path]]:
                raise PhaseError(
                    f"{phase.name} {run.short}: the artifact store does not hold {faults[0]} as it was sent "
                    f"({run.artifact_uri}). The run is not complete; run it again."
                )
        else:
            held, outputs = gather_outputs(records.client, run, "", Path(folder))
            _log_manifest(records.client, run_id, held)
    price = work.request.price()
    grade = phase.grade(run.metrics)
    digest = held.digest
    if not held.files:
        # What it made lies elsewhere, out of sight. Made otherwise, it must not look the same to the phases after it.
        digest = value_digest(["no outputs", run.fingerprint])
        _logger.warning(f"{phase.name}: it left no outputs in the store; later phases compare how it was made")
    _check_owner(records, run_id)  # The upload may have taken long.
    description = completed(
        phase, work.request.values, run, work.inputs, duration_seconds, cost_usd(duration_seconds, price)
    )
    records.complete(run_id, work, Completion(digest, outputs, duration_seconds, price, grade, description))
    _report(work, run, grade, duration_seconds)


def _check_owner(records: Records, run_id: str) -> None:
    """Raise TakenOverError when another run has taken over the work while this process stood still."""
    try:
        records.check_owner(run_id)
    except TakenOverError:
        records.end(run_id, "KILLED")  # A script that ends its MLflow run itself may have called it finished.
        raise


def _log_manifest(client: MlflowClient, run_id: str, manifest: Manifest) -> None:
    client.log_text(run_id, manifest.to_json(), f"{schema.OUTPUTS_FOLDER}/{schema.MANIFEST_FILE}")


def _report(work: Work, run: PhaseRun, grade: str, duration_seconds: float) -> None:
    phase = work.request.phase
    quality = (
        f", {phase.quality.metric} {run.metrics[phase.quality.metric]:.4g} ({grade})"
        if (phase.quality and phase.quality.metric in run.metrics)
        else ""
    )
    _logger.info(f"{phase.name}: done in {describe_duration(duration_seconds)}{quality}")
    for remark in borderline_reasons(phase, run):
        _logger.warning(f"{phase.name}: {remark}")
