"""The runs that have not ended: a view that is cheap enough to be polled every few seconds."""

import hashlib
import time
from datetime import UTC, datetime

from mlflow_plugin.reports import models
from mlflow_plugin.reports.status import activity_of, silence
from mlflow_plugin.reports.views.questions import questions_view
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.untrusted import number

_LOOK_EVERY_SECONDS = 20.0
_seldom: dict[tuple[str, str, str], tuple[float, str]] = {}


def live_model(run: PhaseRun) -> models.Live:
    """Return the progress of a run that has not ended, from its last heartbeat."""
    heartbeat, activity = run.heartbeat, activity_of(run)
    step, total, pace = (number(heartbeat.get(name)) for name in ("step", "total", "seconds_per_step"))
    return models.Live(
        run_id=run.run_id,
        short=run.short,
        phase=run.phase,
        state=models.LIVE_STATES[activity.state],
        sentence=activity.sentence,
        step=step,
        total=total,
        seconds_per_step=pace,
        steps_per_second=1 / pace if pace and pace > 1e-9 else None,
        eta_seconds=max(0.0, total - step) * pace if step is not None and total is not None and pace else None,
        heartbeat_age_seconds=round(max(0.0, silence(run, time.time())), 1) if heartbeat else None,
        process_percent=number(heartbeat.get("process_percent")),
        cpu_percent=number(heartbeat.get("cpu_percent")),
        memory_percent=number(heartbeat.get("memory_percent")),
        gpu_percent=number(heartbeat.get("gpu_percent")),
        gpu_memory_percent=number(heartbeat.get("gpu_memory_percent")),
        host=str(heartbeat["host"]) if heartbeat.get("host") else None,
        started_at=run.started_at,
    )


def live_runs(history: History) -> list[models.Live]:
    """Return the project's runs that are under way, newest first, without those whose process is dead."""
    running = [live_model(run) for run in history.running()]
    return [live for live in running if live.state != "interrupted"]


def live_view(history: History) -> models.LiveView:
    """Return the answer to a poll. Its `stamp` changes when the pipeline view may have changed."""
    return models.LiveView(
        at=datetime.now(UTC).replace(microsecond=0),
        running=live_runs(history),
        questions=questions_view(history),
        stamp=stamp(history),
    )


def stamp(history: History) -> str:
    """Return a text that changes when the state of the pipeline may have changed.

    That is when a run began, ended, asked, fell silent or was deleted, a result was accepted, a metric logged, a
    quarantine set or lifted, or another pipeline declared.
    """
    parts = [
        *(f"{key}={value}" for key, value in sorted(history.experiment_tags().items())),
        *(f"{run.run_id} {run.verdict} {run.answer} {activity_of(run).state}" for run in history.running()),
        *sorted(f"{run_id} {run.quarantined}" for run_id, run in history.quarantined(history.experiment_id).items()),
        _seldom_changed(history),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _seldom_changed(history: History) -> str:
    """Return the newest run of the experiment, and the properties of the latest results that can change later.

    The newest run is needed because one that failed within a second is in no other list. Finding it among 100,000
    takes longer than everything else, so the answer is kept for a while.
    """
    place = (str(history.client.tracking_uri), history.experiment_id, history.project.name)
    looked, known = _seldom.get(place, (0.0, ""))
    now = time.monotonic()
    if not looked or now - looked > _LOOK_EVERY_SECONDS:
        history.read_ahead(history.project.phases)
        latest = [run for phase in history.project.phases if (run := history.pointed_at(phase))]
        results = [f"{run.run_id} {run.invalidated_by} {sorted(run.metrics.items())}" for run in latest]
        known = "\n".join([*results, *(run.run_id for run in history.search("", 1))])
        _seldom[place] = (now, known)
    return known
