"""Read a run of the tracking store as plain data: the one place where runs come in.

Anybody can write into a store: other tools, people who edit a tag, attackers. A run that holds nonsense is read all the
same. What was left out of it is said in `PhaseRun.unreadable` and `PhaseRun.ignored`, so that it stands in nobody's way
and is never taken for a good one.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from mlflow.entities import Run

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.markdown import one_line
from mlflow_plugin.store import schema
from mlflow_plugin.store import tag_reader as check
from mlflow_plugin.store.lock import CHOOSING, WITHDRAWN
from mlflow_plugin.store.mlflow_internals import is_artifact_uri
from mlflow_plugin.store.run import BEGINNING, PhaseRun
from mlflow_plugin.store.tag_reader import TagReader, is_in_future, shown
from mlflow_plugin.store.untrusted import mapping, moment
from mlflow_plugin.store.values import are_values, read_values, with_infinity

__all__ = ["phase_run"]

_OWN_METRICS = "phase."


def _check_format(tags: Mapping[str, str], run_id: str, read: TagReader) -> None:
    """Note that a run has no format that any version writes.

    Raises:
        PhaseError: A newer version of this package wrote the run: it has to be upgraded rather than passed over.
    """
    written_by = tags.get(schema.FORMAT, "1")
    if not re.fullmatch("[1-9][0-9]{0,2}", written_by):
        read.fault(f"its tag {schema.FORMAT} is no version of a format: {shown(written_by)}")
    elif int(written_by) > schema.FORMAT_VERSION:
        raise PhaseError(
            f"run {run_id} was written by a newer mlflow-phases (format {written_by}; this one reads up to "
            f"{schema.FORMAT_VERSION}). Nothing was changed. Upgrade mlflow-phases to go on."
        )


def phase_run(run: Run) -> PhaseRun:
    """Return a run of the store as plain data. Raises PhaseError when a newer version of ours wrote it."""
    tags, info, read = run.data.tags, run.info, TagReader(run.data.tags)
    _check_format(tags, info.run_id, read)
    quarantine = mapping(tags.get(schema.QUARANTINE)) if schema.QUARANTINED in tags else {}
    return PhaseRun(
        run_id=info.run_id,
        phase=tags.get(schema.NAME, ""),
        project=tags.get(schema.PROJECT, ""),
        experiment_id=info.experiment_id,
        artifact_uri=_artifact_uri(run, read),
        status=_status(run),
        started_at=_started_at(run, read),
        completed_at=read.time(schema.COMPLETED_AT, needed=True),
        verdict=read.line(schema.VERDICT),
        computing=any(key.startswith(schema.COMPUTED_INDEX) for key in tags),
        reason=read.lines(schema.REASON),
        reused_run_id=_reused_run_id(run, read),
        resumed_from=read.run_id(schema.RESUMED_FROM, needed=False),
        successor=read.line(schema.SUCCESSOR),
        inputs=read.run_ids(schema.INPUT_PREFIX),
        ancestors=read.listed_ids(_lists_of_ancestors(tags), "run"),
        experiments=read.listed_ids([schema.EXPERIMENTS], "experiment"),
        fingerprint=read.mapping(schema.FINGERPRINT, check.check_fingerprint, needed=True),
        parameters=run.data.params,
        metrics=_metrics(run, read),
        output_digest=read.digest(schema.OUTPUT_DIGEST),
        outputs=read.mapping(schema.OUTPUTS, check.check_outputs, needed=True) or None,
        reads=read.mapping(schema.READS, check.check_reads, needed=True),
        findings=read.mapping(schema.FINDINGS),
        steps=read.mapping(schema.STEPS, check.check_steps),
        quarantined=read.mark(schema.QUARANTINED),
        quarantined_at=moment(quarantine.get("at")),
        quarantined_by=one_line(str(quarantine.get("by") or ""))[:200],
        invalidated_by=read.line(schema.INVALIDATED_BY),
        beside=read.mark(schema.BESIDE),
        kept=read.prefixed(schema.KEPT),
        heartbeat=read.heartbeat(schema.HEARTBEAT),
        checkpoint=read.checkpoint(schema.CHECKPOINT),
        # Also with nonsense in place of the newest one there may be checkpoints, and they are looked for.
        first_checkpoint=read.line(schema.FIRST_CHECKPOINT) or read.line(schema.CHECKPOINT),
        bad_checkpoints=read.mapping(schema.BAD_CHECKPOINTS, check.check_texts_by_name),
        question=read.mapping(schema.QUESTION),
        answer=read.line(schema.ANSWER),
        answered_by=read.line(schema.ANSWERED_BY),
        answered_at=read.time(schema.ANSWERED_AT),
        hardware=read.line(schema.HARDWARE),
        hardware_key=read.line(schema.HARDWARE_KEY),
        user=read.line("mlflow.user"),
        source=read.line("mlflow.source.name"),
        lock_entry=_lock_entry(tags),
        presumed_dead=read.line(schema.PRESUMED_DEAD),
        parent_run_id=tags.get("mlflow.parentRunId", ""),
        name=one_line(info.run_name or ""),
        note=tags.get("mlflow.note.content", ""),
        members=_members(read),
        matrix=read.mapping(schema.MATRIX, check.check_matrix, needed=True),
        unreadable=tuple(read.unreadable),
        ignored=tuple(read.ignored),
    )


def _reused_run_id(run: Run, read: TagReader) -> str:
    run_id = read.run_id(schema.REUSED_RUN_ID)
    if run_id == run.info.run_id:
        read.fault(f"its tag {schema.REUSED_RUN_ID} names the run itself")
    return run_id


def _artifact_uri(run: Run, read: TagReader) -> str:
    uri = run.info.artifact_uri or ""
    if not is_artifact_uri(uri):
        read.fault(f"it has no place for artifacts: {shown(uri)}")
        return ""
    return uri


def _started_at(run: Run, read: TagReader) -> datetime:
    seconds = (run.info.start_time or 0) / 1000
    with suppress(ValueError, OverflowError, OSError):
        if not is_in_future(seconds):
            return datetime.fromtimestamp(seconds, UTC)
    read.ignored.append(f"its start time is no time: {shown(str(run.info.start_time))}")
    return BEGINNING


def _lists_of_ancestors(tags: Mapping[str, str]) -> list[str]:
    """Return the tags that list the runs upstream. Those of a large set take several."""
    return [schema.ANCESTORS, *(key for key in tags if key.startswith(f"{schema.ANCESTORS}."))]


def _members(read: TagReader) -> tuple[str, ...]:
    """Return the runs of a set in the order of its matrix; empty for any other run."""
    numbered = read.run_ids(schema.MEMBER_PREFIX)
    places = sorted(int(place) for place in numbered if re.fullmatch("[1-9][0-9]{0,6}", place))
    return tuple(numbered[str(place)] for place in places)


def _status(run: Run) -> str:
    """Return how a run ended. MLflow's local backend says FINISHED although a command failed inside a pipe."""
    status = str(run.info.status)
    ended: str = run.data.tags.get(schema.ENDED, "")
    return ended if status == "FINISHED" and ended in ("FAILED", "KILLED") else status


def _metrics(run: Run, read: TagReader) -> dict[str, float]:
    """Return a run's metrics. What was logged after its completion changes no value that was kept with it."""
    metrics = {name: with_infinity(value) for name, value in run.data.metrics.items()}
    own = [name for name in metrics if name.startswith(_OWN_METRICS)]
    for name in [name for name in own if not 0 <= metrics[name] <= check.MOST]:
        read.ignored.append(f"its metric {one_line(name)[:100]} is no amount: {metrics.pop(name):g}")
    return {**metrics, **read_values(read.mapping(schema.VALUES, are_values, needed=True))}


def _lock_entry(tags: Mapping[str, str]) -> str:
    """Return a run's lock entry, which stands under each of its identity's digests.

    A store of single files may show half of a write: the entry then counts as still being chosen. So does nonsense.
    """
    written = {value for key, value in tags.items() if key.startswith(schema.LOCK_INDEX)}
    entry = next(iter(written)) if len(written) == 1 else CHOOSING if written else ""
    return entry if entry in ("", CHOOSING, WITHDRAWN) or re.fullmatch("[0-9]{1,18}", entry) else CHOOSING
