"""The pipeline as it stands: for each phase its newest run, how good, and whether it matches the phases before it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_plugin.activity import activity, how_to_go_on
from mlflow_plugin.decision import middling, quality_of
from mlflow_plugin.history import History
from mlflow_plugin.invocation import Invocation
from mlflow_plugin.liveness import age, is_alive, whereabouts
from mlflow_plugin.names import short
from mlflow_plugin.parameters import unquoted, without_defaults
from mlflow_plugin.project import Phase, Project
from mlflow_plugin.records import Records
from mlflow_plugin.runs import PhaseRun
from mlflow_plugin.verdict import clock, finite


@dataclass(frozen=True)
class PhaseState:
    """`state` is missing, running, stuck (alive, idle, and no step for long), stopped (its process stands still),
    interrupted, failed, asking, quarantined, stale, poor, in between, gate failed, or fresh. `dead` are runs whose
    process, on this machine, is gone although the store calls them running.
    """

    phase: Phase
    state: str
    run: PhaseRun | None
    matches: str = ""
    remarks: tuple[str, ...] = ()
    dead: tuple[PhaseRun, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON. Seconds, US dollars, ISO 8601 UTC."""
        run = self.run
        return {
            "phase": self.phase.name,
            "state": self.state,
            "run_id": run.run_id if run else None,
            "completed_at": run.completed_at.isoformat() if run and run.completed_at else None,
            "quality": finite(quality_of(self.phase, run)) if run else None,
            "matches_upstream": {"yes": True, "no": False}.get(self.matches),
            "duration_seconds": run.duration_seconds if run else None,
            "cost_usd": run.cost_usd if run else None,
            "remarks": list(self.remarks),
        }


def pipeline_state(project: Project, history: History) -> list[PhaseState]:
    """The state of every phase, in order."""
    latest = {phase.name: history.latest(phase) for phase in project.order(project.phases)}
    return [_state(history, phase, latest) for phase in project.order(project.phases)]


def end_dead(records: Records, project: Project, states: Sequence[PhaseState]) -> None:
    """Ends the runs whose process is gone in the store too, saying how to go on. Who may only read changes nothing."""
    for state in states:
        for run in state.dead:
            given = {name: unquoted(value) for name, value in run.parameters.items()}
            typed = without_defaults(given, state.phase.parameters)
            invocation = Invocation(project.directory, run.phase, typed, experiment_id=run.experiment_id)
            with suppress(MlflowException):
                records.presume_dead(run, how_to_go_on(run, invocation))


def _state(history: History, phase: Phase, latest: Mapping[str, PhaseRun | None]) -> PhaseState:
    newest = [run for run in history.recent(phase.name, 10) if not run.reused_run_id]
    newest = newest or history.computed(phase.name, 10)
    busy = _busy(phase, newest[:3])
    dead = tuple(run for run in newest if _is_dead_here(run))
    chosen = latest[phase.name]
    if chosen is None:
        return replace(busy or _unusable(history, phase, newest), dead=dead)
    mismatches = _mismatches(history, chosen, latest)
    matches = ("no" if mismatches else "yes") if phase.needs else ""
    grade = phase.grade(chosen.metrics)
    state = "stale" if mismatches else {"between": "in between", "gate": "gate failed"}.get(grade, grade)
    remarks = [*mismatches, *middling(phase, chosen), *(busy.remarks if busy else ())]
    shown = busy.state if busy else "fresh" if state == "good" else state
    return PhaseState(phase, shown, chosen, matches, tuple(remarks), dead)


def _busy(phase: Phase, newest: list[PhaseRun]) -> PhaseState | None:
    """What is going on right now: a run that computes, asks, or has stopped breathing."""
    for run in newest:
        unended = run.status == "RUNNING" or run.presumed_dead
        if run.complete or run.heir or not unended or run.verdict == "wait":
            continue
        now = time.time()
        alive = run.status == "RUNNING" and is_alive(run.heartbeat, now)
        if alive and run.verdict == "ask":
            return PhaseState(
                phase, "asking", run, remarks=(f"{run.short} waits for an answer: mlflow-phases answer {run.run_id} A",)
            )
        found = activity(run, whereabouts(run.heartbeat), alive, _silence(run, now))
        state = {"dead": "interrupted", "quiet": "running"}.get(found.state, found.state)
        return PhaseState(phase, state, run, remarks=(found.sentence,))
    return None


def _silence(run: PhaseRun, now: float) -> float:
    try:
        return age(run.heartbeat, now)
    except (KeyError, TypeError, ValueError):
        return now - run.started_at.timestamp()


def _is_dead_here(run: PhaseRun) -> bool:
    """Whether this machine knows for certain that a run's process is gone. Of another machine's a look cannot tell."""
    unended = run.status == "RUNNING" and not run.complete and bool(run.heartbeat)
    return unended and whereabouts(run.heartbeat) == "gone"


def _unusable(history: History, phase: Phase, newest: list[PhaseRun]) -> PhaseState:
    if not newest:
        return PhaseState(phase, "missing", None)
    run = newest[0]
    if taint := history.taint(run):
        return PhaseState(phase, "quarantined", run, remarks=(taint,))
    if not run.complete:
        what = "asking" if run.verdict == "ask" else "failed"
        return PhaseState(phase, what, run, remarks=(f"{run.short}: {run.reason}",) if run.reason else ())
    grade = phase.grade(run.metrics)
    state = {"gate": "gate failed", "unknown": "quality unknown"}.get(grade, grade)
    return PhaseState(phase, state, run, remarks=tuple(middling(phase, run)))


def _mismatches(history: History, run: PhaseRun, latest: Mapping[str, PhaseRun | None]) -> list[str]:
    found = []
    used_runs = history.runs(run.inputs.values())
    for need, used_id in run.inputs.items():
        current, used = latest.get(need), used_runs.get(used_id)
        if current is None or current.run_id == used_id or (used and used.output_digest == current.output_digest):
            continue
        made = f" of {clock(used.when)}" if used else ""
        found.append(
            f"made from {need} {short(used_id)}{made}; the latest {need} is {current.short} of {clock(current.when)}"
        )
    return found
