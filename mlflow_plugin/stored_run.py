"""A run of the tracking store as plain data: what its tags say, read without trusting them."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from mlflow.entities import Run

from mlflow_plugin import names
from mlflow_plugin.claims import CHOOSING
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.runs import PhaseRun


def _json(text: str | None) -> Any:
    with suppress(ValueError, TypeError, RecursionError):  # A few thousand brackets are enough for the last.
        return json.loads(text or "")
    return None


def mapping(text: str | None) -> dict[str, Any]:
    """A JSON object from the store; empty when it is none."""
    content = _json(text)
    return content if isinstance(content, dict) else {}


def moment(text: str | None) -> datetime | None:
    """An ISO 8601 time from the store, or None when it is none."""
    with suppress(ValueError, TypeError):
        found = datetime.fromisoformat(text or "")
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def phase_run(run: Run) -> PhaseRun:
    """What a run of the store says, as plain data. Raises PhaseError when a newer version of this package wrote it."""
    tags, info = run.data.tags, run.info
    written_by = tags.get(names.FORMAT, "1")
    if not re.fullmatch("[0-9]{1,9}", written_by) or int(written_by) > names.FORMAT_VERSION:
        raise PhaseError(
            f"run {info.run_id} was written by a newer mlflow-phases (format {written_by[:20]}; this one reads up to "
            f"{names.FORMAT_VERSION}). Nothing was changed. Upgrade mlflow-phases to go on."
        )
    outputs = _json(tags.get(names.OUTPUTS))
    quarantine = mapping(tags.get(names.QUARANTINE)) if names.QUARANTINED in tags else {}
    return PhaseRun(
        run_id=info.run_id,
        phase=tags.get(names.NAME, ""),
        project=tags.get(names.PROJECT, ""),
        experiment_id=info.experiment_id,
        artifact_uri=info.artifact_uri or "",
        status=info.status,
        started_at=datetime.fromtimestamp((info.start_time or 0) / 1000, UTC),
        completed_at=moment(tags.get(names.COMPLETED_AT)),
        verdict=tags.get(names.VERDICT, ""),
        computing=any(key.startswith(names.COMPUTED_INDEX) for key in tags),
        reason=tags.get(names.REASON, ""),
        reused_run_id=tags.get(names.REUSED_RUN_ID, ""),
        resumed_from=tags.get(names.RESUMED_FROM, ""),
        heir=tags.get(names.HEIR, ""),
        inputs={
            key.removeprefix(names.INPUT_PREFIX): value
            for key, value in tags.items()
            if key.startswith(names.INPUT_PREFIX)
        },
        ancestors=frozenset(filter(None, tags.get(names.ANCESTORS, "").split(","))),
        experiments=frozenset(filter(None, tags.get(names.EXPERIMENTS, "").split(","))),
        fingerprint=mapping(tags.get(names.FINGERPRINT)),
        parameters=run.data.params,
        metrics=run.data.metrics,
        output_digest=tags.get(names.OUTPUT_DIGEST, ""),
        outputs=outputs if isinstance(outputs, dict) else None,
        quarantined=tags.get(names.QUARANTINED, ""),
        quarantined_at=moment(quarantine.get("at")),
        quarantined_by=str(quarantine.get("by") or ""),
        invalidated_by=tags.get(names.INVALIDATED_BY, ""),
        heartbeat=mapping(tags.get(names.HEARTBEAT)),
        checkpoint=tags.get(names.CHECKPOINT, ""),
        first_checkpoint=tags.get(names.FIRST_CHECKPOINT, ""),
        bad_checkpoints=mapping(tags.get(names.BAD_CHECKPOINTS)),
        question=mapping(tags.get(names.QUESTION)),
        answer=tags.get(names.ANSWER, ""),
        answered_by=tags.get(names.ANSWERED_BY, ""),
        answered_at=moment(tags.get(names.ANSWERED_AT)),
        hardware=tags.get(names.HARDWARE, ""),
        hardware_key=tags.get(names.HARDWARE_KEY, ""),
        user=tags.get("mlflow.user", ""),
        claim=_claim(tags),
        presumed_dead=tags.get(names.PRESUMED_DEAD, ""),
        parent_run_id=tags.get("mlflow.parentRunId", ""),
        name=info.run_name or "",
        note=tags.get("mlflow.note.content", ""),
    )


def _claim(tags: Mapping[str, str]) -> str:
    """What a run wrote of its claim, under each of its identity's digests. A store of single files may show a write
    half done: then the claim is still being chosen.
    """
    written = {value for key, value in tags.items() if key.startswith(names.CLAIM_INDEX)}
    return next(iter(written)) if len(written) == 1 else CHOOSING if written else ""
