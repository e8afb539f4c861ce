"""From a request to either a recorded reuse or a run that is ready to compute: decide, ask, wait, acquire with twins,
as often as it takes.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.evidence import decide_phase, is_computing, required
from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.decision.verdict import Option
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.activity import how_to_go_on
from mlflow_plugin.execution.answers import given_answer
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.prompt import check_goes_on, settle
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.execution.tags import superseded_runs
from mlflow_plugin.format import approximately, describe_cost, describe_duration, short
from mlflow_plugin.machine.liveness import HEARTBEAT_SECONDS, Watch
from mlflow_plugin.machine.signals import Terminated
from mlflow_plugin.store.artifacts import missing as lost
from mlflow_plugin.store.artifacts import remedy
from mlflow_plugin.store.history import History
from mlflow_plugin.store.http_retries import ask_again_when_cut
from mlflow_plugin.store.lock import WITHDRAWN, LockEntry, acquire, lock_number
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import user

_logger = logging.getLogger(__name__)

_SAY_EVERY_SECONDS = 10.0
_LOOK_EVERY_SECONDS = min(1.0, HEARTBEAT_SECONDS / 4)
_STORE_AWAY_SECONDS = 600.0


@dataclass(frozen=True)
class Attempt:
    """A request that is settled. `source` is the run whose outputs count when nothing is computed, else None."""

    run_id: str
    decision: Decision
    source: PhaseRun | None = None
    option: Option | None = None

    def work(self) -> Work:
        """What is to be computed when there is no source."""
        superseded = tuple(sorted(superseded_runs(self.decision)))
        return Work(self.decision.request, self.decision.inputs, superseded)

    def resumed_from(self) -> PhaseRun | None:
        verdict = self.decision.verdict
        return self.decision.history.run(verdict.run_id or "") if verdict.action == "resume" else None


def settle_request(
    request: Request, records: Records, make_run: Callable[[], str], accepted_run_ids: frozenset[str] = frozenset()
) -> Attempt:
    """Decides until a phase is either reused (and that recorded) or ready to compute (and that recorded).

    Of several that settle the same request at once, one is given it to compute; the others wait for that one.
    `make_run` gives the run to record on, made only when needed. Losses that were accepted already are not asked about
    again. On a PhaseError the run, if it was made by then, is ended with the reason on it.
    """
    ask_again_when_cut()
    settling = _Settling(request, records, make_run, accepted_run_ids)
    try:
        while True:
            if attempt := settling.attempt():
                return attempt
    except PhaseError as error:
        settling.end(str(error))
        raise
    except (KeyboardInterrupt, Terminated) as error:
        settling.end(str(error) or "interrupted from the keyboard", "KILLED")
        raise


class _Settling:
    def __init__(
        self, request: Request, records: Records, make_run: Callable[[], str], accepted_run_ids: frozenset[str]
    ) -> None:
        self.request, self.records = request, records
        self.make_run, self.accepted_run_ids = make_run, accepted_run_ids
        self.run_id = request.own_run_id
        self.phase = request.phase.name
        self.watch = Watch()
        self.decision: Decision | None = None

    def attempt(self) -> Attempt | None:
        """Decides and carries that on; None when it has to be decided anew."""
        self.decision = decision = self._decide()
        self.run_id = self.run_id or self.make_run()
        for run in decision.abandoned:
            if run.status != "KILLED":
                with suppress(MlflowException):  # It was deleted meanwhile, or is somebody else's.
                    self.records.presume_dead(run, how_to_go_on(run, self.request.invocation))
        verdict = decision.verdict
        if verdict.action == "wait":
            self._wait(decision, verdict.run_id or "")
            return None
        if verdict.action == "ask":
            answer = self._answer(decision)
            now = self._decide()
            if _same_question(now, decision):
                return self._carry_on(now, answer)
            _logger.info(f"{self.phase}: things changed while the question was open, so it is asked anew")
            self.records.withdraw_answer(self.run_id)
            return None
        if verdict.action == "reuse":
            _logger.info(f"{self.phase}: reuse - {'; '.join(verdict.reasons)}")
            source = decision.history.run(verdict.run_id or "")
            assert source is not None
            self.records.reuse(self.run_id, decision, source)
            return Attempt(self.run_id, decision, source)
        return self._compute(decision, decision)

    def end(self, reason: str, status: str = "FAILED") -> None:
        """Ends the run; a request that is wrong in itself has left none behind."""
        if self.run_id:
            self.records.fail(self.run_id, reason, self.decision, status)

    def _decide(self) -> Decision:
        return decide_phase(replace(self.request, own_run_id=self.run_id), watch=self.watch)

    # --- questions ---

    def _answer(self, decision: Decision) -> Answer:
        verdict, run_id = decision.verdict, self.run_id
        superseded = {one.run_id for one in verdict.invalidates}
        again = verdict.option("rerun")
        if superseded and superseded <= self.accepted_run_ids and again:
            answer = Answer(again, "the answer given for the phase before it")
        else:
            self.records.ask(run_id, decision)
            with Heartbeat(self.records, run_id):
                answer = settle(self.request, verdict, run_id, _Answers(self.records, run_id, self.phase), user())
        self.records.answer(run_id, answer.option.letter, answer.by, answer.at)
        check_goes_on(self.request, verdict, answer)
        _logger.info(f"{self.phase}: {answer.option.letter}) {answer.option.title} - chosen by {answer.by}")
        return answer

    def _carry_on(self, decision: Decision, answer: Answer) -> Attempt | None:
        verdict = decision.verdict
        kept = decision.history.run(verdict.run_id or "")
        # A question about age has no such option.
        forced = self.request.decide == "rerun" and answer.option.decide != "rerun"
        if answer.option.decide == "reuse" and kept is not None and not forced:
            if faults := lost(self.request.client, kept):
                raise PhaseError(
                    f"{kept.phase} {kept.short} cannot be kept, it lost its outputs: {faults[0]}. {remedy(kept)}"
                )
            reasons = (*verdict.reasons, f"kept by {answer.by}")
            kept_decision = replace(decision, verdict=replace(verdict, reasons=reasons))
            self.records.reuse(self.run_id, kept_decision, kept, answer.option)
            return Attempt(self.run_id, kept_decision, kept, answer.option)
        reasons = (*verdict.reasons, f"chosen by {answer.by}")
        chosen = replace(decision, verdict=replace(verdict, action="run", reasons=reasons))
        return self._compute(decision, chosen, answer.option)

    # --- computing, one at a time ---

    def _compute(self, decided: Decision, chosen: Decision, option: Option | None = None) -> Attempt | None:
        """Starts to compute what was chosen upon a decision; None when a twin came first or things have changed."""
        _check_inputs(decided)
        first = self._acquire(decided)
        now = self._decide() if first == self.run_id else decided
        # A twin may have ended between the decision and the lock_entry.
        if first == self.run_id and _same_question(now, decided) and self._take_over(now):
            verdict = chosen.verdict
            _logger.info(f"{self.phase}: {verdict.action} - {'; '.join(verdict.reasons)}")
            if expected := verdict.estimate:
                cost = f", {describe_cost(expected.cost_usd)}" if expected.cost_usd is not None else ""
                _logger.info(f"{self.phase}: expected to take {approximately(expected.seconds)}{cost}")
            self.records.start(self.run_id, chosen)
            return Attempt(self.run_id, chosen, None, option)
        self.records.write_lock_entry(self.run_id, decided, WITHDRAWN)
        if option is not None:
            self.records.withdraw_answer(self.run_id)
        if first != self.run_id:
            self._wait(decided, first)
        return None

    def _acquire(self, decision: Decision) -> str:
        """Return the id of the run that holds the lock on this identity; see `store.lock`."""
        contest, began = acquire(self.run_id), time.monotonic()
        move, pause, said = next(contest), 0.02, False
        with Heartbeat(self.records, self.run_id, at_once=False):
            while True:
                if move is not None:
                    self.records.write_lock_entry(self.run_id, decision, move)
                try:
                    following = contest.send(self._rivals(decision) if move is None else ())
                except StopIteration as end:
                    return str(end.value)
                if move is None and following is None:
                    if not said and time.monotonic() - began > 2:
                        said = True
                        _logger.info(
                            f"{self.phase}: another run starts the same work now; finding out which of them computes"
                        )
                    time.sleep(pause)
                    pause = min(2 * pause, _LOOK_EVERY_SECONDS)
                move = following

    def _lock_entries(self, decision: Decision) -> list[PhaseRun]:
        assert decision.identity is not None
        return [run for run in decision.history.lock_entries(decision.identity) if run.run_id != self.run_id]

    def _rivals(self, decision: Decision) -> Sequence[LockEntry]:
        live = [run for run in self._lock_entries(decision) if is_computing(run, self.watch)]
        return [LockEntry(run.run_id, lock_number(run.lock_entry)) for run in live]

    def _take_over(self, decision: Decision) -> bool:
        """Takes over from those that died on the same work. False when one of them had completed it by then."""
        dead = [run for run in self._lock_entries(decision) if run.is_open and not is_computing(run, self.watch)]
        for run in {run.run_id: run for run in (*dead, *decision.abandoned)}.values():
            if not self.records.take_over(run, self.run_id):
                return False
        return True

    # --- waiting ---

    def _wait(self, decision: Decision, duplicate_id: str) -> None:
        """Returns when the run that computes the same thing has completed, ended or died."""
        _logger.info(f"{self.phase}: wait - {self.phase} {short(duplicate_id)} computes the same thing; waiting for it")
        reason = f"{self.phase} {short(duplicate_id)} is computing the same thing now; it is waited for and then reused"
        verdict = replace(decision.verdict, action="wait", run_id=duplicate_id, reasons=(reason,))
        self.records.wait(self.run_id, replace(decision, verdict=verdict))
        with Heartbeat(self.records, self.run_id, at_once=False):
            twin = _wait_for_duplicate(decision.history, self.watch, duplicate_id, self.phase)
        if twin is not None and twin.complete:
            # It was computed anew while this run asked for that: once is enough.
            self.request = replace(self.request, force_allowed=False)


def _check_inputs(decision: Decision) -> None:
    request = decision.request
    if missing := [need for need in request.phase.needs if need not in decision.inputs]:
        raise required(request.phase, missing)
    for used in decision.inputs.values():
        if faults := lost(request.client, used):
            raise PhaseError(f"{used.phase} {used.short} lost its outputs: {faults[0]}. {remedy(used)}")


def _same_question(now: Decision, before: Decision) -> bool:
    """Whether a decision still fits: hours may have passed, and code or store may have changed, before it is carried
    out.
    """
    one, other = now.verdict, before.verdict
    superseded = [{one.run_id for one in verdict.invalidates} for verdict in (one, other)]
    same = (one.action, one.kind, one.run_id) == (other.action, other.kind, other.run_id)
    return same and superseded[0] == superseded[1] and now.identity == before.identity


class _Answers:
    """Looks for an answer from elsewhere. A store that is away for a while ends no question: somebody may sit at the
    terminal, or have let the run wait over night.
    """

    def __init__(self, records: Records, run_id: str, phase: str) -> None:
        self._client, self._run_id, self._phase = records.client, run_id, phase
        self._answered = self._said = time.monotonic()

    def __call__(self) -> Answer | None:
        try:
            found = given_answer(self._client, self._run_id)
            self._answered = time.monotonic()
            return found
        except MlflowException as error:
            now = time.monotonic()
            away = now - self._answered
            if away > _STORE_AWAY_SECONDS or error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise
            if now - self._said > _SAY_EVERY_SECONDS:
                self._said = now
                _logger.info(
                    f"{self._phase}: the tracking store does not answer; trying again ({describe_duration(away)})"
                )
            return None


def _wait_for_duplicate(history: History, watch: Watch, duplicate_id: str, phase: str) -> PhaseRun | None:
    """The run that computes the same thing, once it has completed, ended or died; None when it was deleted."""
    began = said = answered = time.monotonic()
    doubted = False
    while True:
        now = time.monotonic()
        try:
            twin = _read(history, duplicate_id)
            answered = now
        except MlflowException:
            if now - answered > _STORE_AWAY_SECONDS:
                raise
            if now - said > _SAY_EVERY_SECONDS:
                said = now
                _logger.info(
                    f"{phase}: the tracking store does not answer; trying again ({describe_duration(now - answered)})"
                )
            time.sleep(_LOOK_EVERY_SECONDS)
            continue
        if twin is None or not is_computing(twin, watch):
            return _read(
                history, duplicate_id
            )  # It may have completed between the look at its tags and at its process.
        watched = watch.doubtful(duplicate_id, twin.heartbeat)
        if watched and not doubted:
            doubted = True
            where = twin.heartbeat.get("host")
            _logger.info(f"{phase}: {twin.short} of {where} looks dead; watching it for {watched:.0f} s more")
        elif now - said > _SAY_EVERY_SECONDS:
            said = now
            _logger.info(f"{phase}: still waiting for {twin.short}{_progress(twin)} ({describe_duration(now - began)})")
        time.sleep(_LOOK_EVERY_SECONDS)


def _read(history: History, run_id: str) -> PhaseRun | None:
    return History(history.client, history.experiment_id, history.project).run(run_id)


def _progress(run: PhaseRun) -> str:
    step, total = run.heartbeat.get("step"), run.heartbeat.get("total")
    if step is None:
        return ""
    return f", at step {step} of {total}" if total else f", at step {step}"
