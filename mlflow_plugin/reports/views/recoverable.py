"""Runs that no longer count, that must not be used, or whose work can be resumed, each with the reason."""

import time

from mlflow_plugin.format import clock, short
from mlflow_plugin.machine.liveness import is_alive
from mlflow_plugin.reports import models
from mlflow_plugin.reports.views.phase_runs import run_model
from mlflow_plugin.reports.views.update import run_command
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import one_like
from mlflow_plugin.store.untrusted import number

_AT_MOST = 100


def recoverable_view(history: History) -> models.Recoverable:
    """Return the newest hundred runs of each kind, newest first."""
    return models.Recoverable(
        superseded=_superseded(history),
        quarantined=_quarantined(history),
        resumable=[_resumable_model(history, run) for run in _resumable(history)],
        deleted=[_run(history, run) for run in history.deleted(_AT_MOST)],
    )


def _run(history: History, run: PhaseRun) -> models.Run:
    return run_model(history.project.phases.get(run.phase), run)


def _superseded(history: History) -> list[models.SupersededBy]:
    """Return runs that no longer count, each with the run that superseded it or the run that it was made from."""
    runs = history.marked(schema.INVALIDATED_BY, _AT_MOST)
    later = history.runs(run.invalidated_by for run in runs)
    rows = [_superseded_by(history, run, later.get(run.invalidated_by)) for run in runs]
    return sorted(rows, key=lambda row: row.when.timestamp() if row.when else 0.0, reverse=True)


def _superseded_by(history: History, run: PhaseRun, by: PhaseRun | None) -> models.SupersededBy:
    return models.SupersededBy(
        run=_run(history, run),
        by=_run(history, by) if by else None,
        when=by.completed_at if by else None,
        who=(by.answered_by or by.user or None) if by else None,
        why=_why(run, by),
    )


def _why(run: PhaseRun, by: PhaseRun | None) -> str:
    if by is None:
        return f"superseded by run {short(run.invalidated_by)}, which is deleted by now"
    effect = "superseded it" if by.phase == run.phase else f"changed an input of {run.phase}"
    because = f": {by.reason}" if by.reason else ""
    return f"{by.phase} {by.short} of {clock(by.when)} {effect}{because}"


def _quarantined(history: History) -> list[models.QuarantinedRun]:
    runs = [run for run in history.quarantined(history.experiment_id).values() if history.is_own(run)]
    rows = [
        models.QuarantinedRun(
            run=_run(history, run),
            when=run.quarantined_at,
            who=run.quarantined_by or None,
            why=run.quarantined,
            depends_on_it=[_run(history, one) for one in history.made_from(run, _AT_MOST)],
        )
        for run in runs[:_AT_MOST]
    ]
    return sorted(rows, key=_quarantine_time, reverse=True)


def _quarantine_time(row: models.QuarantinedRun) -> float:
    when = row.when or row.run.completed_at
    return when.timestamp() if when else 0.0


def _resumable(history: History) -> list[PhaseRun]:
    """Return runs that ended incomplete with a checkpoint, and whose work no later run has done."""
    runs = history.marked(schema.CHECKPOINT, _AT_MOST, "attributes.status != 'FINISHED'")
    interrupted = [run for run in runs if not run.complete and not run.successor and not _lives(run)]
    return [run for run in interrupted if not _done_since(history, run) and not history.quarantine_reason(run)]


def _lives(run: PhaseRun) -> bool:
    return run.status == "RUNNING" and is_alive(run.heartbeat, time.time())


def _done_since(history: History, run: PhaseRun) -> bool:
    latest = history.latest(one_like(history.project.phases[run.phase], run))
    return latest is not None and latest.when > run.started_at and latest.fingerprint == run.fingerprint


def _resumable_model(history: History, run: PhaseRun) -> models.ResumableRun:
    step, total = number(run.heartbeat.get("step")), number(run.heartbeat.get("total"))
    place = f" at step {step:.0f}" + (f" of {total:.0f}" if total else "") if step is not None else ""
    stopped = f"{run.phase} {run.short} of {clock(run.started_at)} stopped{place}"
    return models.ResumableRun(
        run=_run(history, run),
        checkpoint=run.checkpoint,
        step=step,
        total=total,
        command=run_command(history, run),
        sentence=f"{stopped}; it is resumable from {run.checkpoint}",
    )
