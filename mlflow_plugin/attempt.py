"""From a request to either a recorded reuse or a run that is ready to compute: decide, ask, wait, as often as it
takes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from mlflow_plugin import names
from mlflow_plugin.accounting import describe_cost
from mlflow_plugin.artifacts import missing as lost
from mlflow_plugin.artifacts import remedy
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.evidence import Decision, Request, decide_phase, is_computing, required
from mlflow_plugin.heart import Heart
from mlflow_plugin.history import History
from mlflow_plugin.names import short
from mlflow_plugin.progress import say
from mlflow_plugin.questions import Answer, settle
from mlflow_plugin.records import Records, Work, superseded_runs, user
from mlflow_plugin.runs import PhaseRun
from mlflow_plugin.termination import Terminated
from mlflow_plugin.verdict import Option, approximately

_SAY_EVERY_SECONDS = 10.0


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
    request: Request, records: Records, make_run: Callable[[], str], accepted_losses: frozenset[str] = frozenset()
) -> Attempt:
    """Decides until a phase is either reused (and that recorded) or ready to compute (and that recorded).

    `make_run` gives the run to record on, made only when needed. Losses that were accepted already are not asked
    about again. On a PhaseError the run, if it was made by then, is ended with the reason on it.
    """
    run_id = request.own_run_id
    decision: Decision | None = None
    try:
        while True:
            decision = decide_phase(replace(request, own_run_id=run_id))
            run_id = run_id or make_run()
            verdict = decision.verdict
            if verdict.action == "wait":
                records.wait(run_id, decision)
                with Heart(records, run_id):
                    _wait_for_twin(decision.history, verdict.run_id or "", request.phase.name)
                continue
            if verdict.action == "ask":
                answer = _answer(request, records, run_id, decision, accepted_losses)
                now = decide_phase(replace(request, own_run_id=run_id))
                if _same_question(now, decision):
                    return _carry_on(request, records, run_id, now, answer)
                say(f"{request.phase.name}: things changed while the question was open, so it is asked anew")
                records.withdraw_answer(run_id)
                continue
            say(f"{request.phase.name}: {verdict.action} - {'; '.join(verdict.reasons)}")
            if verdict.action == "reuse":
                source = decision.history.run(verdict.run_id or "")
                assert source is not None
                records.reuse(run_id, decision, source)
                return Attempt(run_id, decision, source)
            return _ready(records, run_id, decision)
    except PhaseError as error:
        if run_id:  # A request that is wrong in itself leaves no run behind.
            records.fail(run_id, str(error), decision)
        raise
    except (KeyboardInterrupt, Terminated) as error:
        if run_id:
            records.fail(run_id, str(error) or "interrupted from the keyboard", decision, "KILLED")
        raise


def _answer(
    request: Request, records: Records, run_id: str, decision: Decision, accepted_losses: frozenset[str]
) -> Answer:
    verdict = decision.verdict
    losses = {loss.run_id for loss in verdict.invalidates}
    again = verdict.option("rerun")
    if losses and losses <= accepted_losses and again:
        answer = Answer(again, "the answer given for the phase before it")
    else:
        records.ask(run_id, decision)
        with Heart(records, run_id):
            answer = settle(request, verdict, run_id, lambda: recorded_answer(records, run_id), user())
    records.answer(run_id, answer.option, answer.by)
    say(f"{request.phase.name}: {answer.option.letter}) {answer.option.title} - chosen by {answer.by}")
    return answer


def _same_question(now: Decision, before: Decision) -> bool:
    """Whether an answer still fits: hours may have passed, and code or store may have changed, before it was given."""
    one, other = now.verdict, before.verdict
    losses = [{loss.run_id for loss in verdict.invalidates} for verdict in (one, other)]
    same = (one.action, one.kind, one.run_id) == (other.action, other.kind, other.run_id)
    return same and losses[0] == losses[1] and now.identity == before.identity


def _carry_on(request: Request, records: Records, run_id: str, decision: Decision, answer: Answer) -> Attempt:
    verdict = decision.verdict
    kept = decision.history.run(verdict.run_id or "")
    forced = request.decide == "rerun" and answer.option.decide != "rerun"  # A question about age has no such option.
    if answer.option.decide == "reuse" and kept is not None and not forced:
        if faults := lost(request.client, kept):
            raise PhaseError(
                f"{kept.phase} {kept.short} cannot be kept, it lost its outputs: {faults[0]}. {remedy(kept)}"
            )
        reasons = (*verdict.reasons, f"kept by {answer.by}")
        kept_decision = replace(decision, verdict=replace(verdict, reasons=reasons))
        records.reuse(run_id, kept_decision, kept, answer.option)
        return Attempt(run_id, kept_decision, kept, answer.option)
    chosen = replace(
        decision, verdict=replace(verdict, action="run", reasons=(*verdict.reasons, f"chosen by {answer.by}"))
    )
    return _ready(records, run_id, chosen, answer.option)


def _ready(records: Records, run_id: str, decision: Decision, option: Option | None = None) -> Attempt:
    request = decision.request
    if missing := [need for need in request.phase.needs if need not in decision.inputs]:
        raise required(request.phase, missing)
    for used in decision.inputs.values():
        if faults := lost(request.client, used):
            raise PhaseError(f"{used.phase} {used.short} lost its outputs: {faults[0]}. {remedy(used)}")
    if decision.verdict.estimate:
        expected = decision.verdict.estimate
        cost = f", {describe_cost(expected.cost_usd)}" if expected.cost_usd is not None else ""
        say(f"{request.phase.name}: expected to take {approximately(expected.seconds)}{cost}")
    records.start(run_id, decision)
    return Attempt(run_id, decision, None, option)


def recorded_answer(records: Records, run_id: str) -> str:
    """The answer recorded on a run, as `LETTER newline WHO`."""
    tags = records.client.get_run(run_id).data.tags
    return f"{tags.get(names.ANSWER, '')}\n{tags.get(names.ANSWERED_BY, '')}"


def _wait_for_twin(history: History, twin_id: str, phase: str) -> None:
    """Returns when the run that computes the same thing has completed, ended or died."""
    say(f"{phase}: wait - {phase} {short(twin_id)} computes the same thing; waiting for it")
    began = said = time.monotonic()
    while True:
        time.sleep(1.0)
        twin = History(history.client, history.experiment_id, history.project).run(twin_id)
        if twin is None or not is_computing(twin, time.time()):
            return
        if time.monotonic() - said > _SAY_EVERY_SECONDS:
            said = time.monotonic()
            step = twin.heartbeat.get("step")
            at = f" at step {step}" if step is not None else ""
            say(f"{phase}: still waiting for {short(twin_id)}{at} ({said - began:.0f} s)")
