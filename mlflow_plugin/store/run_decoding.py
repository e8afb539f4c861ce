"""Read a run of the tracking store as plain data. Its tags are not trusted."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store import schema
from mlflow_plugin.store.lock import CHOOSING
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.values import read_values


def _json(text: str | None) -> Any:
    with suppress(ValueError, TypeError, RecursionError):  # A few thousand brackets are enough for the last.
        return json.loads(text or "")
    return None


def mapping(text: str | None) -> dict[str, Any]:
    """Return a JSON object from the store; empty for anything else."""
    content = _json(text)
    return content if isinstance(content, dict) else {}


def moment(text: str | None) -> datetime | None:
    """Return an ISO 8601 time from the store; None for anything else."""
    with suppress(ValueError, TypeError):
        moment_read = datetime.fromisoformat(text or "")
        return moment_read if moment_read.tzinfo else moment_read.replace(tzinfo=UTC)
    return None


def _check_format(tags: Mapping[str, str], run_id: str) -> None:
    written_by = tags.get(schema.FORMAT, "1")
    if not re.fullmatch("[0-9]{1,9}", written_by) or int(written_by) > schema.FORMAT_VERSION:
        raise PhaseError(
            f"run {run_id} was written by a newer mlflow-phases (format {written_by[:20]}; this one reads up to "
            f"{schema.FORMAT_VERSION}). Nothing was changed. Upgrade mlflow-phases to go on."
        )


def phase_run(run: Run) -> PhaseRun:
    """Return a run of the store as plain data. Raises NewerFormatError when a newer version of ours wrote it."""
    tags, info = run.data.tags, run.info
    _check_format(tags, info.run_id)
    outputs = _json(tags.get(schema.OUTPUTS))
    quarantine = mapping(tags.get(schema.QUARANTINE)) if schema.QUARANTINED in tags else {}
    return PhaseRun(
        run_id=info.run_id,
        phase=tags.get(schema.NAME, ""),
        project=tags.get(schema.PROJECT, ""),
        experiment_id=info.experiment_id,
        artifact_uri=info.artifact_uri or "",
        status=_status(run),
        started_at=datetime.fromtimestamp((info.start_time or 0) / 1000, UTC),
        completed_at=moment(tags.get(schema.COMPLETED_AT)),
        verdict=tags.get(schema.VERDICT, ""),
        computing=any(key.startswith(schema.COMPUTED_INDEX) for key in tags),
        reason=tags.get(schema.REASON, ""),
        reused_run_id=tags.get(schema.REUSED_RUN_ID, ""),
        resumed_from=tags.get(schema.RESUMED_FROM, ""),
        successor=tags.get(schema.SUCCESSOR, ""),
        inputs=_prefixed(tags, schema.INPUT_PREFIX),
        ancestors=_ancestors(tags),
        experiments=frozenset(filter(None, tags.get(schema.EXPERIMENTS, "").split(","))),
        fingerprint=mapping(tags.get(schema.FINGERPRINT)),
        parameters=run.data.params,
        metrics=_metrics(run),
        output_digest=tags.get(schema.OUTPUT_DIGEST, ""),
        outputs=outputs if isinstance(outputs, dict) else None,
        reads=mapping(tags.get(schema.READS)),
        findings=mapping(tags.get(schema.FINDINGS)),
        steps=_steps(tags.get(schema.STEPS)),
        quarantined=tags.get(schema.QUARANTINED, ""),
        quarantined_at=moment(quarantine.get("at")),
        quarantined_by=str(quarantine.get("by") or ""),
        invalidated_by=tags.get(schema.INVALIDATED_BY, ""),
        beside=tags.get(schema.BESIDE, ""),
        kept=_prefixed(tags, schema.KEPT),
        heartbeat=mapping(tags.get(schema.HEARTBEAT)),
        checkpoint=tags.get(schema.CHECKPOINT, ""),
        first_checkpoint=tags.get(schema.FIRST_CHECKPOINT, ""),
        bad_checkpoints=mapping(tags.get(schema.BAD_CHECKPOINTS)),
        question=mapping(tags.get(schema.QUESTION)),
        answer=tags.get(schema.ANSWER, ""),
        answered_by=tags.get(schema.ANSWERED_BY, ""),
        answered_at=moment(tags.get(schema.ANSWERED_AT)),
        hardware=tags.get(schema.HARDWARE, ""),
        hardware_key=tags.get(schema.HARDWARE_KEY, ""),
        user=tags.get("mlflow.user", ""),
        source=tags.get("mlflow.source.name", ""),
        lock_entry=_lock_entry(tags),
        presumed_dead=tags.get(schema.PRESUMED_DEAD, ""),
        parent_run_id=tags.get("mlflow.parentRunId", ""),
        name=info.run_name or "",
        note=tags.get("mlflow.note.content", ""),
        members=_members(tags),
        matrix=mapping(tags.get(schema.MATRIX)),
    )


def _prefixed(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def _steps(text: str | None) -> dict[str, list[str]]:
    return {name: [str(run) for run in runs] for name, runs in mapping(text).items() if isinstance(runs, list)}


def _ancestors(tags: Mapping[str, str]) -> frozenset[str]:
    """Return the runs upstream. Those of a large set take several tags."""
    more = [value for key, value in tags.items() if key.startswith(f"{schema.ANCESTORS}.")]
    listed = ",".join([tags.get(schema.ANCESTORS, ""), *more])
    return frozenset(filter(None, listed.split(",")))


def _members(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the runs of a set in the order of its matrix; empty for any other run."""
    numbered = _prefixed(tags, schema.MEMBER_PREFIX)
    places = sorted(int(place) for place in numbered if re.fullmatch("[1-9][0-9]{0,6}", place))
    return tuple(numbered[str(place)] for place in places)


def _status(run: Run) -> str:
    """Return how a run ended. MLflow's local backend says FINISHED although a command failed inside a pipe."""
    status = str(run.info.status)
    ended: str = run.data.tags.get(schema.ENDED, "")
    return ended if status == "FINISHED" and ended in ("FAILED", "KILLED") else status


def _metrics(run: Run) -> dict[str, float]:
    """Return a run's metrics. What was logged after its completion changes no value that was kept with it."""
    return {**run.data.metrics, **read_values(mapping(run.data.tags.get(schema.VALUES)))}


def _lock_entry(tags: Mapping[str, str]) -> str:
    """Return a run's lock entry, which stands under each of its identity's digests.

    A store of single files may show half of a write: the entry then counts as still being chosen.
    """
    written = {value for key, value in tags.items() if key.startswith(schema.LOCK_INDEX)}
    return next(iter(written)) if len(written) == 1 else CHOOSING if written else ""
