"""From a request to a resolution: either an earlier run is reused, or this run is ready to compute.

A small state machine. Every round begins with a decision; a state that returns None leads to the next round.

    decide --reuse------------------------------------> reuse: recorded, done
       |  ^--wait <--- a duplicate run has ended            ^
       |  ^--things changed, or a duplicate run was first   | keep
       |---ask -----------------------------------> ask ----+
       |                                             | run again
       `---run, resume ----------------> acquire <---'
                                            `--> take over --> start: recorded, ready to compute
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.evidence import decide_phase
from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.verdict import Option, Verdict
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.acquisition import Acquisition
from mlflow_plugin.execution.activity import how_to_resume
from mlflow_plugin.execution.answers import AnswerReader
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.inputs import check_inputs
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.execution.prompt import check_not_stopped, obtain_answer
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.execution.steps import current_step
from mlflow_plugin.execution.tags import superseded_runs
from mlflow_plugin.execution.waiting import wait_for_duplicate
from mlflow_plugin.format import approximately, describe_cost, short
from mlflow_plugin.machine.liveness import Watch
from mlflow_plugin.machine.signals import Terminated
from mlflow_plugin.store.http_retries import ask_again_when_cut
from mlflow_plugin.store.outputs import missing, remedy
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import user

_logger = logging.getLogger(__name__)
_LONGEST_LINE = 160


@dataclass(frozen=True)
class Resolution:
    """How a request was resolved. `reused` is the run whose outputs count; None when this run is to compute."""

    run_id: str
    decision: Decision
    reused: PhaseRun | None = None
    option: Option | None = None

    def work(self) -> Work:
        """Return what is to be computed when no run is reused."""
        superseded = tuple(sorted(superseded_runs(self.decision)))
        return Work(self.decision.request, self.decision.inputs, superseded)

    def resumed_from(self) -> PhaseRun | None:
        """Return the interrupted run to resume from, None for a start from scratch."""
        verdict = self.decision.verdict
        return self.decision.history.run(verdict.run_id or "") if verdict.action == "resume" else None


def resolve_request(
    request: Request,
    records: Records,
    make_run: Callable[[], str],
    accepted: frozenset[str] = frozenset(),
    ready: Callable[[Request], None] = lambda request: None,
) -> Resolution:
    """Decide until a phase is either reused (and that is recorded) or ready to compute (and that is recorded).

    Of several duplicate runs one is given the work to compute; the others wait for it.

    Args:
        request: The phase, its parameters and its project.
        records: Writes to the tracking store.
        make_run: Makes the run to record on. It is called once, after the first decision, unless the request has one.
        accepted: Ids of runs that a person has agreed to supersede; they are not asked about again.
        ready: Raises PhaseError where the phase cannot be computed. It is called before a run is made to compute it.

    Raises:
        PhaseError: The request failed or a question stays open. The run, if it was made by then, ends with the reason.
    """
    ask_again_when_cut()
    resolver = _Resolver(request, records, make_run, accepted, ready)
    try:
        first = resolver.decide()
        with Heartbeat(records, resolver.run_id, at_once=False):
            return resolver.resolve(first)
    except PhaseError as error:
        resolver.end(str(error))
        raise
    except (KeyboardInterrupt, Terminated) as error:
        resolver.end(str(error) or "interrupted from the keyboard", "KILLED")
        raise


class _Resolver:
    def __init__(
        self,
        request: Request,
        records: Records,
        make_run: Callable[[], str],
        accepted: frozenset[str],
        ready: Callable[[Request], None],
    ) -> None:
        self.request, self.records, self.make_run, self.accepted = request, records, make_run, accepted
        self.run_id, self.ready = request.own_run_id, ready
        self.phase = request.label
        self.watch = Watch()
        self.decision: Decision | None = None

    def resolve(self, decision: Decision) -> Resolution:
        """Go through the states until one of them resolves the request."""
        while True:
            verdict = decision.verdict
            resolution = None
            if verdict.action == "reuse":
                return self._reuse(decision)
            if verdict.action == "wait":
                self._wait(decision, verdict.run_id or "")
            elif verdict.action == "ask":
                resolution = self._ask(decision)
            else:
                resolution = self._acquire_and_start(decision, decision)
            if resolution is not None:
                return resolution
            decision = self.decide()

    def decide(self) -> Decision:
        """Decide, make the run to record on, and end the runs that were found to be dead."""
        self.decision = decision = self._decide()
        if decision.verdict.action in ("run", "resume"):
            self.ready(self.request)
        self.run_id = self.run_id or self.make_run()
        for run in decision.abandoned:
            if run.status != "KILLED":
                with suppress(MlflowException):  # It was deleted meanwhile, or may only be read.
                    self.records.presume_dead(run, how_to_resume(run, self.request.invocation))
        return decision

    def end(self, reason: str, status: str = "FAILED") -> None:
        """End the run, if there is one: a request that is wrong in itself leaves none behind."""
        if self.run_id:
            self.records.fail(self.run_id, reason, self.decision, status)

    def _decide(self) -> Decision:
        return decide_phase(replace(self.request, own_run_id=self.run_id), watch=self.watch)

    # --- reuse ---

    def _reuse(self, decision: Decision) -> Resolution:
        verdict = decision.verdict
        _announce(self.phase, verdict)
        reused = decision.history.run(verdict.run_id or "")
        assert reused is not None
        self.records.reuse(self.run_id, decision, reused)
        self._restore(decision, reused)
        return Resolution(self.run_id, decision, reused)

    def _restore(self, decision: Decision, run: PhaseRun) -> None:
        """Put the files of a reused run back into the project. Where that fails, the reuse is recorded all the same."""
        phase = self.request.phase
        if not phase.outputs:
            return
        try:
            ProjectFiles.of(decision).restore(phase, run)
        except PhaseError as error:
            _logger.warning(f"{self.phase}: {error}")

    # --- ask ---

    def _ask(self, decision: Decision) -> Resolution | None:
        """Obtain an answer and execute it, unless the question has changed meanwhile.

        The answer is recorded as accepted at the moment when it is executed: the person who gave it waits to see that.
        """
        answer = self._answer(decision)
        now = self._decide()
        if not _is_same(now, decision):
            _logger.info(f"{self.phase}: things changed while the question was open, so it is asked anew")
            self.records.withdraw_answer(self.run_id)
            return None
        if answer.option.decide == "fail":
            self._accept(answer)
        check_not_stopped(self.request, now.verdict, answer)
        return self._execute(answer, now)

    def _answer(self, decision: Decision) -> Answer:
        verdict = decision.verdict
        superseded = {one.run_id for one in verdict.invalidates}
        again = verdict.option("rerun")
        # A checkpoint is not given up because superseding the runs was agreed to.
        if superseded and superseded <= self.accepted and again and verdict.kind not in ("edited", "beside"):
            return Answer(again, "the answer given for the phase before it")
        self.records.ask(self.run_id, decision)
        reader = AnswerReader(self.records.client, self.run_id, self.phase)
        return obtain_answer(self.request, verdict, self.run_id, reader, user())

    def _accept(self, answer: Answer) -> None:
        self.records.answer(self.run_id, answer.option.letter, answer.by, answer.at)
        _logger.info(f"{self.phase}: {answer.option.letter}) {answer.option.title} - chosen by {answer.by}")

    def _execute(self, answer: Answer, decision: Decision) -> Resolution | None:
        verdict, option = decision.verdict, answer.option
        # A question about the age of inputs has no such option.
        forced = self.request.decide == "rerun" and option.decide != "rerun"
        kept = decision.history.run(option.run_id)
        if option.action == "reuse" and kept is not None and not forced:
            return self._keep(answer, decision, kept)
        beside = f"chosen by {answer.by}" if option.decide == "beside" else verdict.beside
        chosen = replace(
            verdict,
            action="resume" if option.action == "resume" else "run",
            run_id=option.run_id if option.action == "resume" else verdict.run_id,
            reasons=(*verdict.reasons, f"chosen by {answer.by}"),
            invalidates=() if option.decide == "beside" else verdict.invalidates,
            beside=beside,
        )
        return self._acquire_and_start(decision, replace(decision, verdict=chosen), answer)

    def _keep(self, answer: Answer, decision: Decision, kept: PhaseRun) -> Resolution:
        """Reuse the run that an answer chose."""
        option, verdict = answer.option, decision.verdict
        if faults := missing(self.request.client, kept):
            raise PhaseError(
                f"{kept.phase} {kept.short} cannot be kept, it lost its outputs: {faults[0]}. {remedy(kept)}"
            )
        self._accept(answer)
        if option.decide == "reuse":
            self.records.remember_kept(decision, kept, answer.by)
        beside = f"chosen by {answer.by}" if option.decide == "beside" else verdict.beside
        reasons = (*verdict.reasons, f"kept by {answer.by}")
        keeping = replace(decision, verdict=replace(verdict, reasons=reasons, beside=beside))
        self.records.reuse(self.run_id, keeping, kept, option)
        self._restore(keeping, kept)
        return Resolution(self.run_id, keeping, kept, option)

    # --- acquire, start ---

    def _acquire_and_start(
        self, decided: Decision, chosen: Decision, answer: Answer | None = None
    ) -> Resolution | None:
        """Start to compute what was chosen; None when a duplicate run was first or the decision no longer holds."""
        check_inputs(decided)
        self.ready(self.request)
        acquisition = Acquisition(self.records, self.run_id, decided, self.watch)
        holder = acquisition.holder()
        now = self._decide() if holder == self.run_id else decided
        # A duplicate run may have ended after the decision and before the lock was acquired.
        if holder == self.run_id and _is_same(now, decided) and acquisition.take_over(now.abandoned):
            return self._start(chosen, answer)
        acquisition.withdraw()
        if answer is not None:
            self.records.withdraw_answer(self.run_id)
        if holder != self.run_id:
            self._wait(decided, holder)
        return None

    def _start(self, chosen: Decision, answer: Answer | None) -> Resolution:
        verdict = chosen.verdict
        if answer is not None:
            self._accept(answer)
        _announce(self.phase, verdict)
        if expected := verdict.estimate:
            cost = f", {describe_cost(expected.cost_usd)}" if expected.cost_usd is not None else ""
            _logger.info(f"{self.phase}: expected to take {approximately(expected.seconds)}{cost}")
        self.records.start(self.run_id, chosen)
        return Resolution(self.run_id, chosen, None, answer.option if answer else None)

    # --- wait ---

    def _wait(self, decision: Decision, duplicate_id: str) -> None:
        """Wait until the duplicate run has completed, ended or died."""
        step = current_step.get()
        if step and duplicate_id in step.caller.run_ids:
            raise PhaseError(
                f"{self.phase} calls itself with the same parameters: {self.phase} {short(duplicate_id)} is one of its "
                "callers. Let it call another entry point, or give it other parameters."
            )
        _logger.info(f"{self.phase}: wait - {self.phase} {short(duplicate_id)} computes the same thing; waiting for it")
        reason = f"waiting for {self.phase} {short(duplicate_id)}, which computes the same thing now, to reuse it"
        verdict = replace(decision.verdict, action="wait", run_id=duplicate_id, reasons=(reason,))
        self.records.wait(self.run_id, replace(decision, verdict=verdict))
        duplicate = wait_for_duplicate(decision.history, self.watch, duplicate_id, self.phase)
        if duplicate is not None and duplicate.complete:
            # It was computed anew while this run asked for that: once is enough.
            self.request = replace(self.request, force_allowed=False)


def _announce(phase: str, verdict: Verdict) -> None:
    """Log a verdict with its reasons: in one line, or one line each when that would be too long to read."""
    line = f"{phase}: {verdict.action} - {'; '.join(verdict.reasons)}"
    lines = [f"{phase}: {verdict.action}", *verdict.reasons]
    _logger.info(line if len(line) <= _LONGEST_LINE else "\n  ".join(lines))


def _is_same(now: Decision, before: Decision) -> bool:
    """Return whether a decision still holds: hours may have passed, and code or store may have changed meanwhile."""
    first, second = now.verdict, before.verdict
    superseded = [{one.run_id for one in verdict.invalidates} for verdict in (first, second)]
    same = (first.action, first.kind, first.run_id) == (second.action, second.kind, second.run_id)
    return same and superseded[0] == superseded[1] and now.identity == before.identity
