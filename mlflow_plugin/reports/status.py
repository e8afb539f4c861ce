"""The pipeline as it stands: for each phase its newest run, how good, and whether it matches the phases before it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.quality import borderline_reasons, quality_of
from mlflow_plugin.execution.activity import Activity, activity, how_to_resume
from mlflow_plugin.execution.records import Records
from mlflow_plugin.format import clock, describe_duration, finite, short
from mlflow_plugin.machine.liveness import age, is_alive, whereabouts
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import unquoted, without_defaults
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Edge:
    """An input of a phase: the run that the phase's run was made from, and the one that it would be made from now."""

    need: str
    used_id: str = ""
    used: PhaseRun | None = None
    latest: PhaseRun | None = None

    @property
    def matches(self) -> bool | None:
        """Whether both gave the same bytes; None when there are no two to compare."""
        if not self.used_id or self.latest is None:
            return None
        same_bytes = self.used is not None and self.used.output_digest == self.latest.output_digest
        return self.latest.run_id == self.used_id or same_bytes

    def sentence(self) -> str:
        """What the phase's run was made from, with both times where they differ."""
        if not self.used_id:
            return f"the latest {self.need} is {_dated(self.latest)}" if self.latest else f"there is no {self.need} yet"
        made = f"made from {self.need} {_dated(self.used) if self.used else short(self.used_id)}"
        if self.latest is None:
            return f"{made}; no {self.need} is good enough to compare it with"
        if self.latest.run_id == self.used_id:
            return f"{made}, which is the latest"
        if self.matches:
            return f"{made}; the latest {self.need} {_dated(self.latest)} gave the same bytes"
        return f"{made}; the latest {self.need} is {_dated(self.latest)}"


def _dated(run: PhaseRun) -> str:
    return f"{run.short} of {clock(run.when)}"


@dataclass(frozen=True)
class PhaseState:
    """A phase as it stands.

    `lasting` says how good the phase's `run` is: fresh, stale (made from other inputs than the latest), invalidated
    (what it was made from is stale itself, or a later run took its place), poor, in between, gate failed, quality
    unknown, failed, asking, quarantined, or missing. `state` is what goes on now, where something does: running, stuck
    (alive, idle, and no step for long), stopped (its process stands still), interrupted, or asking; `busy` is the run
    that does. Else it is `lasting`. `dead` are runs whose process, on this machine, is gone although the store calls
    them running.
    """

    phase: Phase
    state: str
    run: PhaseRun | None
    edges: tuple[Edge, ...] = ()
    remarks: tuple[str, ...] = ()
    dead: tuple[PhaseRun, ...] = ()
    lasting: str = ""
    busy: PhaseRun | None = None

    @property
    def matches(self) -> str:
        """Whether the run still matches the phases before it: yes, no, or empty when that says nothing."""
        found = {edge.matches for edge in self.edges}
        return "no" if False in found else "yes" if True in found else ""

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
    """The state of every phase, in order. Costs a few requests for all phases together, unless one has no good run."""
    phases = project.order(project.phases)
    history.read_ahead(phase.name for phase in phases)
    history.newest()
    latest = {phase.name: history.latest(phase) for phase in phases}
    states: dict[str, PhaseState] = {}
    for phase in phases:
        states[phase.name] = _state(history, phase, latest, states)
    return list(states.values())


def end_dead(records: Records, project: Project, states: Sequence[PhaseState]) -> None:
    """Ends the runs whose process is gone in the store too, saying how to go on. Who may only read changes nothing."""
    for state in states:
        for run in state.dead:
            given = {name: unquoted(value) for name, value in run.parameters.items()}
            typed = without_defaults(given, state.phase.parameters)
            invocation = Invocation(project.directory, run.phase, typed, experiment_id=run.experiment_id)
            with suppress(MlflowException):
                records.presume_dead(run, how_to_resume(run, invocation))


_STATE_OF_GRADE = {
    "good": "up to date",
    "borderline": "borderline",
    "gate": "gate failed",
    "unknown": "quality unknown",
}


def _state(
    history: History, phase: Phase, latest: Mapping[str, PhaseRun | None], before: Mapping[str, PhaseState]
) -> PhaseState:
    unended = [run for run in history.unended() if run.phase == phase.name]
    dead = tuple(run for run in unended if is_dead_here(run))
    chosen = latest[phase.name]
    busy, now = _busy(unended, chosen)
    run, lasting, remarks = (chosen, "", []) if chosen else _unusable(history, phase, unended)
    run = run or busy
    edges = _edges(history, phase, run, latest)
    if chosen:
        lasting, remarks = _judged(history, phase, chosen, edges, before)
    shown = now.state if now else lasting
    said = (*remarks, now.sentence) if now and chosen else (now.sentence,) if now else tuple(remarks)
    return PhaseState(phase, shown, run if chosen else busy or run, edges, said, dead, lasting, busy)


def _edges(
    history: History, phase: Phase, run: PhaseRun | None, latest: Mapping[str, PhaseRun | None]
) -> tuple[Edge, ...]:
    used = run.inputs if run else {}
    runs = history.runs(used.values())
    return tuple(Edge(need, used.get(need, ""), runs.get(used.get(need, "")), latest.get(need)) for need in phase.needs)


def _judged(
    history: History, phase: Phase, run: PhaseRun, edges: Sequence[Edge], before: Mapping[str, PhaseState]
) -> tuple[str, list[str]]:
    """The lasting state of a phase's newest usable run, and why."""
    mismatches = [edge.sentence() for edge in edges if edge.matches is False]
    outdated = [] if mismatches else _outdated(history, run, edges, before)
    grade = phase.grade(run.metrics)
    state = "stale" if mismatches else "invalidated" if outdated else _STATE_OF_GRADE.get(grade, grade)
    marked = [one for one in history.quarantined(history.experiment_id).values() if one.phase == phase.name]
    later = [history.quarantine_reason(one) for one in marked if history.is_own(one) and one.when > run.when]
    return state, [*mismatches, *outdated, *borderline_reasons(phase, run), *_too_old(phase, edges), *later]


def _too_old(phase: Phase, edges: Sequence[Edge]) -> list[str]:
    """Inputs that would be asked about before the phase is run or reused, because they are older than it allows."""
    limit, now = phase.max_age_seconds, time.time()
    ages = [(edge.latest, now - edge.latest.when.timestamp()) for edge in edges if edge.latest]
    return [
        f"{run.phase} {run.short} is {describe_duration(age)} old; max_age is {describe_duration(limit)}"
        for run, age in ages
        if limit is not None and age > limit
    ]


def _outdated(history: History, run: PhaseRun, edges: Sequence[Edge], before: Mapping[str, PhaseState]) -> list[str]:
    """Why a run counts no more although its own inputs are the latest."""
    upstream = [before[edge.need] for edge in edges if edge.need in before]
    found = [
        f"{state.phase.name} {state.run.short}, which it was made from, is {state.lasting} itself"
        for state in upstream
        if state.run and state.lasting in ("stale", "invalidated")
    ]
    taker = history.run(run.invalidated_by)
    # The mark of another phase's run says no more than the inputs do, and stays when one goes back to earlier ones.
    if (
        taker
        and taker.complete
        and taker.phase == run.phase
        and taker.when > run.when
        and not history.quarantine_reason(taker)
    ):
        found.append(f"{taker.phase} {_dated(taker)} took its place")
    return found


def _busy(unended: Sequence[PhaseRun], chosen: PhaseRun | None) -> tuple[PhaseRun | None, Activity | None]:
    """What is going on right now: a run that computes or asks; failing these, one that has stopped breathing and that
    nothing good came after."""
    found = [(run, going_on(run)) for run in unended if run.verdict not in ("", "wait")]
    alive = [pair for pair in found if pair[1].state != "interrupted"]
    dead = [
        pair for pair in found if pair[1].state == "interrupted" and not (chosen and chosen.when > pair[0].started_at)
    ]
    run, now = next(iter(alive or dead), (None, None))
    return run, now._replace(state="running") if now and now.state == "quiet" else now


def going_on(run: PhaseRun) -> Activity:
    """What a run that has not ended is doing: running, quiet, stuck, stopped, asking, waiting, or interrupted."""
    now = time.time()
    alive = run.status == "RUNNING" and is_alive(run.heartbeat, now)
    if alive and run.asks:
        return Activity("asking", f"{run.short} waits for an answer: mlflow-phases answer {run.run_id} A")
    if alive and run.verdict == "wait":
        return Activity("waiting", f"{run.short} waits: {run.reason}")
    found = activity(run, whereabouts(run.heartbeat), alive, silence(run, now))
    return found._replace(state="interrupted") if found.state == "dead" else found


def silence(run: PhaseRun, now: float) -> float:
    """Seconds since a run was last heard."""
    try:
        return age(run.heartbeat, now)
    except (KeyError, TypeError, ValueError):
        return now - run.started_at.timestamp()


def is_dead_here(run: PhaseRun) -> bool:
    """Whether this machine knows for certain that a run's process is gone. Of another machine's a look cannot tell."""
    unended = run.status == "RUNNING" and not run.complete and bool(run.heartbeat)
    return unended and whereabouts(run.heartbeat) == "gone"


def _unusable(history: History, phase: Phase, unended: Sequence[PhaseRun]) -> tuple[PhaseRun | None, str, list[str]]:
    """The newest ended run of a phase that has no usable one, its lasting state, and why."""
    going = {run.run_id for run in unended}
    recent = [run for run in history.recent(phase.name, 10) if not run.reused_run_id]
    ended = [run for run in recent or history.computed(phase.name, 10) if run.run_id not in going]
    if not ended:
        return None, "missing", []
    run = ended[0]
    if quarantine_reason := history.quarantine_reason(run):
        return run, "quarantined", [quarantine_reason]
    if not run.complete:
        return run, "asking" if run.asks else "failed", [f"{run.short}: {run.reason}"] if run.reason else []
    grade = phase.grade(run.metrics)
    return run, _STATE_OF_GRADE.get(grade, grade), borderline_reasons(phase, run)
