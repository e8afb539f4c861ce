"""The state of each phase of a pipeline: its newest run, its grade, and the comparison with the phases before it."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.facts import left_out
from mlflow_plugin.decision.quality import borderline_reasons, quality_of
from mlflow_plugin.execution.activity import Activity, activity, how_to_resume
from mlflow_plugin.execution.records import Records
from mlflow_plugin.format import clock, describe_duration, finite, short
from mlflow_plugin.machine.liveness import age, is_alive, whereabouts
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.matrix import MOST_RUNS, label
from mlflow_plugin.project.parameters import unquoted, without_defaults
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.project.vocabulary import State
from mlflow_plugin.reports import models
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import values_of


@dataclass(frozen=True)
class Edge:
    """An input of a phase: the run that was used, and the latest one, which would be used now."""

    need: str
    used_id: str = ""
    used: PhaseRun | None = None
    latest: PhaseRun | None = None

    @property
    def matches(self) -> bool | None:
        """True when both gave the same bytes; None when there are no two to compare."""
        if not self.used_id or self.latest is None:
            return None
        same_bytes = self.used is not None and self.used.output_digest == self.latest.output_digest
        return self.latest.run_id == self.used_id or same_bytes

    def sentence(self) -> str:
        """Describe the input, with both times where the two runs differ."""
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
    """The state of a phase.

    Attributes:
        phase: The phase.
        state: The activity of a run that has not ended: running, stuck (alive, idle, no step for long), stopped (its
            process was paused), interrupted, or asking. Without such a run, `lasting`.
        run: The newest run that counts; without one, the newest run.
        edges: The inputs of that run.
        remarks: The reasons for the state.
        dead: Runs that are running in the store although their process on this machine is gone.
        lasting: The state of the result: up to date, stale (made from other inputs than the latest), invalidated (an
            input is stale itself, or a later run superseded it), poor, borderline, gate failed, quality unknown,
            failed, asking, quarantined, or missing.
        busy: The run that has not ended.
    """

    phase: Phase
    state: State
    run: PhaseRun | None
    edges: tuple[Edge, ...] = ()
    remarks: tuple[str, ...] = ()
    dead: tuple[PhaseRun, ...] = ()
    lasting: State = "missing"
    busy: PhaseRun | None = None

    @property
    def matches(self) -> str:
        """`yes` when the run matches the phases before it, `no` when it does not, empty when that is not known."""
        matches = {edge.matches for edge in self.edges}
        return "no" if False in matches else "yes" if True in matches else ""

    @property
    def steps(self) -> list[str]:
        """The steps that the run started by `mlflow.run`, each with the runs that count for it."""
        steps = self.run.steps if self.run else {}
        return [f"{name} ({', '.join(map(short, runs))})" for name, runs in steps.items()]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: seconds, US dollars, ISO 8601 UTC."""
        run = self.run
        status = models.PhaseStatus(
            phase=self.phase.name,
            state=self.state,
            run_id=run.run_id if run else None,
            completed_at=run.completed_at if run else None,
            quality=finite(quality_of(self.phase, run)) if run else None,
            matches_upstream={"yes": True, "no": False}.get(self.matches),
            duration_seconds=run.duration_seconds if run else None,
            cost_usd=run.cost_usd if run else None,
            remarks=list(self.remarks),
            steps=self.steps,
        )
        return status.to_json()


def pipeline_state(project: Project, history: History) -> list[PhaseState]:
    """Return the state of every phase, in order.

    This takes a few requests for all phases together, and some more for a phase without a good run.
    """
    phases = project.order(project.phases)
    history.read_ahead(phase.name for phase in phases)
    history.newest()
    latest = {phase.name: history.latest(phase) for phase in phases}
    states: dict[str, PhaseState] = {}
    for phase in phases:
        states[phase.name] = _state(history, phase, latest, states)
    return list(states.values())


def end_dead(records: Records, project: Project, states: Sequence[PhaseState]) -> None:
    """End the runs whose process is gone in the store too, with the command that resumes them.

    A user that may only read changes nothing.
    """
    for state in states:
        for run in state.dead:
            given = {name: unquoted(value) for name, value in run.parameters.items()}
            typed = without_defaults(given, state.phase.parameters)
            folder = project.directory_of(state.phase)
            invocation = Invocation(folder, state.phase.own_name, typed, experiment_id=run.experiment_id)
            with suppress(MlflowException):
                records.presume_dead(run, how_to_resume(run, invocation))


_STATE_OF_GRADE: Mapping[str, State] = {
    "good": "up to date",
    "borderline": "borderline",
    "poor": "poor",
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
    run, lasting, remarks = (chosen, None, []) if chosen else _unusable(history, phase, unended)
    if phase.matrix is not None and chosen is None and lasting in _STATE_OF_GRADE.values():
        run, lasting, remarks = None, "missing", [_no_set(history.project, phase)]
    run = run or busy
    edges = _edges(history, phase, run, latest)
    if chosen:
        lasting, remarks = _judged(history, phase, chosen, edges, before)
    assert lasting is not None
    nonsense = [*history.unreadable(phase.name), *(left_out(chosen) if chosen else ())]
    if not now:
        return PhaseState(phase, lasting, run, edges, (*remarks, *nonsense), dead, lasting, busy)
    all_remarks = (*remarks, now.sentence, *nonsense) if chosen else (now.sentence, *nonsense)
    return PhaseState(phase, models.STATES[now.state], chosen or busy or run, edges, all_remarks, dead, lasting, busy)


def _edges(
    history: History, phase: Phase, run: PhaseRun | None, latest: Mapping[str, PhaseRun | None]
) -> tuple[Edge, ...]:
    used = run.inputs if run else {}
    runs = history.runs(used.values())
    return tuple(Edge(need, used.get(need, ""), runs.get(used.get(need, "")), latest.get(need)) for need in phase.needs)


def _judged(
    history: History, phase: Phase, run: PhaseRun, edges: Sequence[Edge], before: Mapping[str, PhaseState]
) -> tuple[State, list[str]]:
    """Return the lasting state of a phase's newest usable run, and the reasons."""
    mismatches = [edge.sentence() for edge in edges if edge.matches is False]
    outdated = [] if mismatches else _outdated(history, run, edges, before)
    grade = phase.grade(run.metrics)
    state: State = "stale" if mismatches else "invalidated" if outdated else _STATE_OF_GRADE[grade]
    quarantined = [one for one in history.quarantined(history.experiment_id).values() if one.phase == phase.name]
    later = [history.quarantine_reason(one) for one in quarantined if history.is_own(one) and one.when > run.when]
    return state, [
        *_of_matrix(phase, run),
        *mismatches,
        *outdated,
        *borderline_reasons(phase, run),
        *_too_old(phase, edges),
        *later,
    ]


def _no_set(project: Project, phase: Phase) -> str:
    command = Invocation(project.directory_of(phase), phase.own_name, backend="phases").command()
    return f"some of its runs are there, but no set of them; `{command}` makes one"


def _of_matrix(phase: Phase, run: PhaseRun) -> list[str]:
    """Say which runs of the declared matrix the set does not have; nothing for a phase without one."""
    if phase.matrix is None:
        return []
    there = {values_of(phase, one) for one in run.each}
    lacking = [
        label(combination)
        for combination in phase.matrix.combinations(MOST_RUNS)
        if tuple(phase.parameters[name].canonical(value) for name, value in combination.items()) not in there
    ]
    some = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
    return [f"the set {run.short} has {len(run.members)} runs, without {some}"] if lacking else []


def _too_old(phase: Phase, edges: Sequence[Edge]) -> list[str]:
    """Describe the inputs that are older than the phase allows: it asks before it uses them."""
    limit, now = phase.max_age_seconds, time.time()
    ages = [(edge.latest, now - edge.latest.when.timestamp()) for edge in edges if edge.latest]
    return [
        f"{run.phase} {run.short} is {describe_duration(age)} old; max_age is {describe_duration(limit)}"
        for run, age in ages
        if limit is not None and age > limit
    ]


def _outdated(history: History, run: PhaseRun, edges: Sequence[Edge], before: Mapping[str, PhaseState]) -> list[str]:
    """Return the reasons why a run does not count although its own inputs are the latest."""
    upstream = [before[edge.need] for edge in edges if edge.need in before]
    reasons = [
        f"{state.phase.name} {state.run.short}, which it was made from, is {state.lasting} itself"
        for state in upstream
        if state.run and state.lasting in ("stale", "invalidated")
    ]
    later = history.run(run.invalidated_by)
    # A run of another phase says no more than the inputs do, and its tag stays when earlier inputs are used again.
    if (
        later
        and later.complete
        and later.phase == run.phase
        and later.when > run.when
        and not history.quarantine_reason(later)
    ):
        reasons.append(f"{later.phase} {_dated(later)} superseded it")
    return reasons


def _busy(unended: Sequence[PhaseRun], chosen: PhaseRun | None) -> tuple[PhaseRun | None, Activity | None]:
    """Return the run that computes or asks; without one, a run that lost its heartbeat and has no good run after it."""
    active = [(run, activity_of(run)) for run in unended if run.verdict not in ("", "wait")]
    alive = [pair for pair in active if pair[1].state != "interrupted"]
    dead = [
        pair for pair in active if pair[1].state == "interrupted" and not (chosen and chosen.when > pair[0].started_at)
    ]
    run, now = next(iter(alive or dead), (None, None))
    return run, now._replace(state="running") if now and now.state == "quiet" else now


def activity_of(run: PhaseRun) -> Activity:
    """Return the activity of a run that has not ended, one of `models.LIVE_STATES`, with a sentence."""
    now = time.time()
    alive = run.status == "RUNNING" and is_alive(run.heartbeat, now)
    if alive and run.asks:
        return Activity("asking", f"{run.short} waits for an answer: mlflow-phases answer {run.run_id} A")
    if alive and run.verdict == "wait":
        return Activity("waiting", f"{run.short} waits: {run.reason}")
    judged = activity(run, whereabouts(run.heartbeat), alive, silence(run, now))
    return judged._replace(state="interrupted") if judged.state == "dead" else judged


def silence(run: PhaseRun, now: float) -> float:
    """Return the seconds since a run's last heartbeat."""
    try:
        return age(run.heartbeat, now)
    except (KeyError, TypeError, ValueError):
        return now - run.started_at.timestamp()


def is_dead_here(run: PhaseRun) -> bool:
    """Return True when the run's process is certainly gone. That is known on its own machine only."""
    unended = run.status == "RUNNING" and not run.complete and bool(run.heartbeat)
    return unended and whereabouts(run.heartbeat) == "gone"


def _unusable(history: History, phase: Phase, unended: Sequence[PhaseRun]) -> tuple[PhaseRun | None, State, list[str]]:
    """Return the newest ended run of a phase without a usable one, its lasting state, and the reasons."""
    going = {run.run_id for run in unended}
    recent = [run for run in history.recent(phase.name, 10) if not run.reused_run_id]
    newest = recent or history.computed(phase.name, 10)
    ended = [run for run in newest if run.run_id not in going and not run.unreadable]
    if not ended:
        return None, "missing", []
    run = ended[0]
    if quarantine_reason := history.quarantine_reason(run):
        return run, "quarantined", [quarantine_reason]
    if not run.complete:
        return run, "asking" if run.asks else "failed", [f"{run.short}: {run.reason}"] if run.reason else []
    grade = phase.grade(run.metrics)
    return run, _STATE_OF_GRADE[grade], borderline_reasons(phase, run)
