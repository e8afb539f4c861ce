"""The end of a computed phase: read back what the store holds, digest it, and record the run as complete."""

import logging
import tempfile
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.checkout.storing import declared_outputs, upload
from mlflow_plugin.decision.quality import borderline_reasons
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import EndedByScriptError, PhaseError, TakenOverError
from mlflow_plugin.execution.records import Completion, Records, Work
from mlflow_plugin.execution.run_description import completed
from mlflow_plugin.format import describe_duration
from mlflow_plugin.machine.prices import cost_usd
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.outputs import OutputFiles, digest_without_files, gather_outputs
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.values import kept_values, last_values

_logger = logging.getLogger(__name__)


def complete_work(
    records: Records, run_id: str, work: Work, duration_seconds: float, *, staged: Path | None = None
) -> None:
    """Record a phase as complete.

    Args:
        records: Writes to the store.
        run_id: The run that computed.
        work: The request and its inputs.
        duration_seconds: Computing time of all its segments.
        staged: The folder with the declared outputs. Without it, or with an empty one, everything that the run logged
            is its output. The models that the run logged always are.

    Raises:
        PhaseError: The script ended its MLflow run as failed or killed, or a file did not arrive as it was sent; the
            run is then not complete.
        TakenOverError: Another run has taken over the work.
    """
    phase = work.request.phase
    _check_owner(records, run_id)
    run = phase_run(records.client.get_run(run_id))
    _check_ended_well(records, run)
    values = last_values(records.client, run_id, phase.judged_metrics)
    run = replace(run, metrics={**run.metrics, **values})
    with tempfile.TemporaryDirectory() as folder:
        held, outputs = _published(records.client, run, work.request, staged, Path(folder))
    price = work.request.price()
    grade = phase.grade(run.metrics)
    digest = held.digest
    if not held.files:
        digest = digest_without_files(run)  # The result lies elsewhere, out of sight.
        if any(phase.name in other.needs for other in work.request.project.phases.values()):
            _logger.warning(
                f"{phase.name}: it left no outputs in the store. The phases that need it compare its parameters, code "
                "and inputs instead."
            )
    _check_owner(records, run_id)  # The upload may have taken long.
    description = completed(
        phase, work.request.values, run, work.inputs, duration_seconds, cost_usd(duration_seconds, price)
    )
    completion = Completion(digest, outputs, duration_seconds, price, grade, {**description, **kept_values(values)})
    records.complete(run_id, work, completion)
    _report(work, run, grade, duration_seconds)


def _check_owner(records: Records, run_id: str) -> None:
    """Raise TakenOverError when another run has taken over the work while this process stood still."""
    try:
        records.check_owner(run_id)
    except TakenOverError:
        records.end(run_id, "KILLED")  # A script that ends its MLflow run itself may have called it finished.
        raise


def _check_ended_well(records: Records, run: PhaseRun) -> None:
    """Raise PhaseError when the script itself has ended its MLflow run as failed or killed, and keep that status."""
    # A run that was presumed dead is KILLED too, and its next heartbeat would undo that.
    if run.status == "FAILED" or (run.status == "KILLED" and not run.presumed_dead):
        reason = (
            f"{run.phase}: its script ended its MLflow run as {run.status} and then ended well itself, so the run is "
            f"not complete. Find out why it called mlflow.end_run({run.status!r}), and run it again; a script whose "
            "result counts ends its run with mlflow.end_run() or not at all."
        )
        records.fail(run.run_id, reason, status=run.status)
        raise EndedByScriptError(reason)


def _published(
    client: MlflowClient, run: PhaseRun, request: Request, staged: Path | None, folder: Path
) -> tuple[Manifest, OutputFiles]:
    """Upload the declared outputs, read back everything that counts as output, and log its manifest last."""
    within = schema.OUTPUTS_FOLDER if staged is not None and any(staged.iterdir()) else ""
    sent = upload(client, run, declared_outputs(request.project, request.phase), within)
    if staged is not None and within:
        sent |= Manifest.of(staged).files
        client.log_artifacts(run.run_id, str(staged), within)
    held, outputs = gather_outputs(client, run, within, folder)
    if faults := [path for path in sent if held.files.get(path) != sent[path]]:
        raise PhaseError(
            f"{run.phase} {run.short}: the artifact store does not hold {faults[0]} as it was sent "
            f"({run.artifact_uri}). The run is not complete; run it again."
        )
    client.log_text(run.run_id, held.to_json(), f"{schema.OUTPUTS_FOLDER}/{schema.MANIFEST_FILE}")
    return held, outputs


def _report(work: Work, run: PhaseRun, grade: str, duration_seconds: float) -> None:
    phase = work.request.phase
    quality = (
        f", {phase.quality.metric} {run.metrics[phase.quality.metric]:.4g} ({grade})"
        if (phase.quality and phase.quality.metric in run.metrics)
        else ""
    )
    _logger.info(f"{work.request.label}: done in {describe_duration(duration_seconds)}{quality}")
    for remark in borderline_reasons(phase, run):
        _logger.warning(f"{work.request.label}: {remark}")
