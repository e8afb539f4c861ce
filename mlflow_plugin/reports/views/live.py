"""What is going on right now, as plain data, cheap enough to be asked for every few seconds."""

import hashlib
import time
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.decision.question import number
from mlflow_plugin.reports.status import going_on, silence
from mlflow_plugin.reports.views.phase_runs import iso
from mlflow_plugin.reports.views.questions import questions_view
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

_USE = ("process_percent", "cpu_percent", "memory_percent", "gpu_percent", "gpu_memory_percent")

_LOOK_EVERY_SECONDS = 20.0
_seldom: dict[tuple[str, str, str], tuple[float, str]] = {}


def live_dict(run: PhaseRun) -> dict[str, Any]:
    """The progress of a run that has not ended, as its last heartbeat told it. Seconds; percent of the machine, and for
    the process of one core."""
    beat, activity = run.heartbeat, going_on(run)
    step, total, pace = (number(beat.get(name)) for name in ("step", "total", "seconds_per_step"))
    return {
        "run_id": run.run_id,
        "short": run.short,
        "phase": run.phase,
        "state": activity.state,
        "sentence": activity.sentence,
        "step": step,
        "total": total,
        "seconds_per_step": pace,
        "steps_per_second": 1 / pace if pace and pace > 1e-9 else None,
        "eta_seconds": max(0.0, total - step) * pace if step is not None and total is not None and pace else None,
        "heartbeat_age_seconds": round(max(0.0, silence(run, time.time())), 1) if beat else None,
        **{name: number(beat.get(name)) for name in _USE},
        "host": str(beat["host"]) if beat.get("host") else None,
        "started_at": iso(run.started_at),
    }


def live_list(history: History) -> list[dict[str, Any]]:
    """The project's runs that are under way, newest first; those whose process is dead are no more."""
    found = [live_dict(run) for run in history.running()]
    return [one for one in found if one["state"] != "interrupted"]


def live_view(history: History) -> dict[str, Any]:
    """What is polled. `stamp` changes when the pipeline view may have changed."""
    running, questions = live_list(history), questions_view(history)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "running": running,
        "questions": questions,
        "stamp": stamp(history),
    }


def stamp(history: History) -> str:
    """A text that changes when the state of the pipeline may have: a run began, ended, asked, fell silent or was
    deleted, a result was accepted, a metric logged, a mark set or lifted, another pipeline declared."""
    parts = [
        *(f"{key}={value}" for key, value in sorted(history.experiment_tags().items())),
        *(f"{run.run_id} {run.verdict} {run.answer} {going_on(run).state}" for run in history.running()),
        *sorted(f"{run_id} {run.quarantined}" for run_id, run in history.quarantined(history.experiment_id).items()),
        _seldom_changed(history),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _seldom_changed(history: History) -> str:
    """The newest run of the experiment, for one that failed within a second is in none of the other lists; and of the
    results that count, what may change after they are complete: metrics and marks, and that they are deleted.

    To find the newest run among 100,000 takes longer than all else, so this is looked at only every so often.
    """
    place = (str(history.client.tracking_uri), history.experiment_id, history.project.name)
    looked, found = _seldom.get(place, (0.0, ""))
    now = time.monotonic()
    if not looked or now - looked > _LOOK_EVERY_SECONDS:
        history.read_ahead(history.project.phases)
        pointed = [run for phase in history.project.phases if (run := history.pointed_at(phase))]
        marks = [f"{run.run_id} {run.invalidated_by} {sorted(run.metrics.items())}" for run in pointed]
        found = "\n".join([*marks, *(run.run_id for run in history.search("", 1))])
        _seldom[place] = (now, found)
    return found
