"""Lost and found as plain data: what was thrown away and why, what must not be used, and what could be gone on from."""

import time
from typing import Any

from mlflow_plugin.decision.question import number
from mlflow_plugin.format import clock, short
from mlflow_plugin.machine.liveness import is_alive
from mlflow_plugin.reports.views.phase_runs import iso, run_dict
from mlflow_plugin.reports.views.update import run_command
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

_AT_MOST = 100


def recoverable_view(history: History) -> dict[str, Any]:
    """The newest hundred of each kind, newest first."""
    return {
        "thrown_away": _thrown_away(history),
        "quarantined": _quarantined(history),
        "resumable": [_resumable_dict(history, run) for run in _resumable(history)],
        "deleted": [_dict(history, run) for run in history.deleted(_AT_MOST)],
    }


def _dict(history: History, run: PhaseRun) -> dict[str, Any]:
    return run_dict(history.project.phases.get(run.phase), run)


def _thrown_away(history: History) -> list[dict[str, Any]]:
    """Runs that count no more, each with the run whose result took its place or that of something it was made from."""
    gone = history.marked(schema.INVALIDATED_BY, _AT_MOST)
    takers = history.runs(run.invalidated_by for run in gone)
    found = []
    for run in gone:
        by = takers.get(run.invalidated_by)
        found.append(
            {
                "run": _dict(history, run),
                "by": _dict(history, by) if by else None,
                "when": iso(by.completed_at) if by else None,
                "who": (by.answered_by or by.user or None) if by else None,
                "why": _why(run, by),
            }
        )
    return sorted(found, key=lambda one: str(one["when"] or ""), reverse=True)


def _why(run: PhaseRun, by: PhaseRun | None) -> str:
    if by is None:
        return f"run {short(run.invalidated_by)}, which is deleted by now, took its place"
    place = "took its place" if by.phase == run.phase else f"changed what {run.phase} is made from"
    because = f": {by.reason}" if by.reason else ""
    return f"{by.phase} {by.short} of {clock(by.when)} {place}{because}"


def _quarantined(history: History) -> list[dict[str, Any]]:
    marked = [run for run in history.quarantined(history.experiment_id).values() if history.is_own(run)]
    found = [
        {
            "run": _dict(history, run),
            "when": iso(run.quarantined_at),
            "who": run.quarantined_by or None,
            "why": run.quarantined,
            "hangs_on_it": [_dict(history, one) for one in history.made_from(run, _AT_MOST)],
        }
        for run in marked[:_AT_MOST]
    ]
    return sorted(found, key=lambda one: str(one["when"] or one["run"]["completed_at"] or ""), reverse=True)


def _resumable(history: History) -> list[PhaseRun]:
    """Runs that ended before they had completed, left a checkpoint, and whose work nobody has done since."""
    found = history.marked(schema.CHECKPOINT, _AT_MOST, "attributes.status != 'FINISHED'")
    interrupted = [run for run in found if not run.complete and not run.successor and not _lives(run)]
    return [run for run in interrupted if not _done_since(history, run) and not history.quarantine_reason(run)]


def _lives(run: PhaseRun) -> bool:
    return run.status == "RUNNING" and is_alive(run.heartbeat, time.time())


def _done_since(history: History, run: PhaseRun) -> bool:
    latest = history.latest(history.project.phases[run.phase])
    return latest is not None and latest.when > run.started_at and latest.fingerprint == run.fingerprint


def _resumable_dict(history: History, run: PhaseRun) -> dict[str, Any]:
    step, total = number(run.heartbeat.get("step")), number(run.heartbeat.get("total"))
    far = f" at step {step:.0f}" + (f" of {total:.0f}" if total else "") if step is not None else ""
    stopped = f"{run.phase} {run.short} of {clock(run.started_at)} stopped{far}"
    return {
        "run": _dict(history, run),
        "checkpoint": run.checkpoint,
        "step": step,
        "total": total,
        "command": run_command(history, run),
        "sentence": f"{stopped}; it can go on from {run.checkpoint}",
    }
