"""Decide on all runs of a phase with a matrix at once, and sum up. Reads, never writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from mlflow_plugin.decision.earlier import ask_above
from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.reads import ReadsComparison
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.superseding import recomputing
from mlflow_plugin.decision.verdict import SupersededRun, Verdict
from mlflow_plugin.project.members import Member, members_of
from mlflow_plugin.project.vocabulary import Action
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import pointed_runs, same_set, values_of

__all__ = ["DecidedMember", "decide_members", "same_questions", "set_verdict", "verdict_of"]

_SHOWN = 5


@dataclass(frozen=True)
class DecidedMember:
    """One run of a matrix with its decision."""

    member: Member
    request: Request
    decision: Decision

    @property
    def verdict(self) -> Verdict:
        return self.decision.verdict


class DecidePhase(Protocol):
    """The decision function on one phase, `evidence.decide_phase`."""

    def __call__(
        self, request: Request, history: History | None = ..., *, like: ReadsComparison | None = ...
    ) -> Decision: ...


def verdict_of(decide: DecidePhase, request: Request, history: History | None = None) -> Verdict:
    """Return the verdict on a phase; on one with a matrix, that on the set of its runs.

    Args:
        decide: The decision function.
        request: The phase.
        history: Runs of its project that were read a moment ago.

    Raises:
        UsageError: A parameter, a value or a pinned run is wrong.
        MlflowException: The store does not answer.
    """
    history = history or History(request.client, request.experiment_id, request.project)
    if request.phase.matrix is None:
        return decide(request, history).verdict
    return set_verdict(request, decide_members(decide, request, history), history)[0]


def decide_members(decide: DecidePhase, request: Request, history: History) -> list[DecidedMember]:
    """Return the decision on each run of a phase with a matrix, in its order. What they share is read once.

    Args:
        decide: The decision function.
        request: The phase with its matrix; values that are given among the parameters take its place.
        history: Runs that were read a moment ago, from a caller that has written nothing since.

    Raises:
        UsageError: A parameter, a value or a pinned run is wrong, or the matrix is too large to be started unasked.
        MlflowException: The store does not answer.
    """
    members = members_of(request.phase, request.given)
    history.read_ahead([request.phase.name, *request.phase.needs])
    newest = {values_of(members[0].phase, run): run for run in pointed_runs(history, request.phase.name)}
    decided, like = [], ReadsComparison(replace(request, phase=members[0].phase), None, partial(verdict_of, decide))
    for member in members:
        own = replace(
            request,
            phase=member.phase,
            given=member.given(request.given),
            newest=newest.get(values_of(member.phase, None)),
        )
        decided.append(DecidedMember(member, own, decide(own, history, like=like)))
    return _asked_together(decide, decided, history, like)


def _asked_together(
    decide: DecidePhase, decided: Sequence[DecidedMember], history: History, like: ReadsComparison
) -> list[DecidedMember]:
    """Let runs ask that would each supersede little, when what they supersede together is costly."""
    running = [one for one in decided if one.verdict.kind == "nothing" and one.verdict.invalidates]
    superseded = {lost.run_id: lost for one in running for lost in one.verdict.invalidates}
    phase = decided[0].member.phase
    if len(running) < 2 or not (amount := recomputing(superseded.values(), {})).exceeds(ask_above(phase)):
        return list(decided)
    in_all = f"together they supersede {len(superseded)} good runs; computing these again takes {amount.words()}"
    asking = {}
    for one in running:
        request = replace(one.request, ask_always=True, in_all=in_all)
        asking[id(one)] = DecidedMember(one.member, request, decide(request, history, like=like))
    return [asking.get(id(one), one) for one in decided]


def set_verdict(
    request: Request, decided: Sequence[DecidedMember], history: History
) -> tuple[Verdict, PhaseRun | None]:
    """Return the verdict on the set of runs, and the earlier set that it would be when all are reused."""
    verdicts = {one.member.label: one.verdict for one in decided}
    reused = [verdict.run_id or "" for verdict in verdicts.values() if verdict.action == "reuse"]
    earlier = same_set(history, request.phase, reused) if len(reused) == len(verdicts) else None
    action = _action(verdicts, earlier)
    asked = [verdict for verdict in verdicts.values() if verdict.action == "ask"]
    superseded: dict[str, SupersededRun] = {}
    for verdict in verdicts.values():
        superseded |= {one.run_id: one for one in verdict.invalidates}
    first = decided[0]
    summed = Verdict(
        request.phase.name,
        action,
        _reasons(verdicts, earlier),
        kind="same" if earlier else "",
        run_id=earlier.run_id if earlier else None,
        invalidates=tuple(superseded.values()),
        options=asked[0].options if asked and len(same_questions(decided)) == 1 else (),
        estimate=_sum([verdict.estimate for verdict in verdicts.values() if verdict.action in ("run", "resume")]),
        inputs={need: run.run_id for need, run in first.decision.inputs.items()},
        beside=first.verdict.beside,
        members=verdicts,
    )
    return summed, earlier


def _action(verdicts: Mapping[str, Verdict], earlier: PhaseRun | None) -> Action:
    if earlier:
        return "reuse"
    actions = {verdict.action for verdict in verdicts.values()}
    order: tuple[Action, ...] = ("ask", "run", "resume", "wait")
    return next((action for action in order if action in actions), "run")


def _reasons(verdicts: Mapping[str, Verdict], earlier: PhaseRun | None) -> tuple[str, ...]:
    count = len(verdicts)
    if earlier:
        return (f"all {count} runs are those of the set {earlier.short}",)
    by_action: dict[str, list[str]] = {}
    for name, verdict in verdicts.items():
        by_action.setdefault(verdict.action, []).append(name)
    parts = [f"{action} {len(names)}" for action, names in by_action.items()]
    if set(by_action) == {"reuse"}:
        return (f"all {count} runs are reused; they were not recorded as a set yet",)
    others = [(name, verdict) for name, verdict in verdicts.items() if verdict.action != "reuse"]
    told = [f"{name}: {verdict.action} - {'; '.join(verdict.reasons)}" for name, verdict in others[:_SHOWN]]
    more = [f"and {len(others) - _SHOWN} more"] if len(others) > _SHOWN else []
    return (f"{count} runs: {', '.join(parts)}", *told, *more)


def _sum(estimates: Sequence[Estimate | None]) -> Estimate | None:
    """Return the time of all runs, one after another. None where one is not known."""
    known = [one for one in estimates if one is not None]
    if not known or len(known) < len(estimates):
        return None
    costs = [one.cost_usd for one in known if one.cost_usd is not None]
    return known[0]._replace(
        seconds=sum(one.seconds for one in known),
        low=sum(one.low for one in known),
        high=sum(one.high for one in known),
        cost_usd=sum(costs) if len(costs) == len(known) else None,
    )


def same_questions(decided: Sequence[DecidedMember]) -> list[list[DecidedMember]]:
    """Return the runs that ask, those with the same question together: one answer counts for all of these."""
    groups: dict[tuple[object, ...], list[DecidedMember]] = {}
    for one in decided:
        if one.verdict.action == "ask":
            options = tuple((option.letter, option.decide, option.action) for option in one.verdict.options)
            groups.setdefault((one.verdict.kind, options), []).append(one)
    return list(groups.values())
