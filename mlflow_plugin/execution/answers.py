"""Answer a question from elsewhere: from the page or from the command line.

An answer is a proposal in a tag of its own on the run that asks, so that two people never overwrite each other. The
waiting process alone chooses: it takes the first proposal that it finds and writes it into `phase.answer`.
"""

import time
from dataclasses import dataclass
from typing import Any

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.question import Answer, recorded_options
from mlflow_plugin.decision.verdict import Option
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.execution.records import Records
from mlflow_plugin.format import short
from mlflow_plugin.machine.liveness import is_alive, whereabouts
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.patience import StoreAway, StorePatience
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import now
from mlflow_plugin.store.untrusted import mapping, moment

PATIENCE_SECONDS = 15.0
"""The waiting process looks twice a second; it may sit on a machine far away with a store that is slow."""
SILENT_PATIENCE_SECONDS = 5.0
"""The same for a process of another machine that looks dead: it may be, or that machine's clock may be slow."""
_LOOK_EVERY_SECONDS = 0.2


class NoLongerWaits(UsageError):
    """The run has ended, so no answer reaches it. `command` starts the phase again with the chosen answer."""

    def __init__(self, message: str, command: str) -> None:
        super().__init__(message)
        self.command = command


class StillOpen(PhaseError):
    """The answer is recorded, but the waiting process has not accepted it yet."""


@dataclass(frozen=True)
class AnswerReceipt:
    """The receipt of an answer: if it counted, else the one that did: its letter, by whom, when (ISO 8601).

    All three are empty when no answer was executed: the question was replaced by another, or the phase ended with an
    error. `message` is for people.
    """

    counted: bool
    message: str
    letter: str = ""
    by: str = ""
    at: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "counted": self.counted,
            "letter": self.letter or None,
            "answered_by": self.by or None,
            "answered_at": self.at or None,
            "message": self.message,
        }


def answer(client: MlflowClient, run_id: str, letter: str, by: str, asked_at: str = "") -> AnswerReceipt:
    """Answer the open question of a run, and wait until the process that asks has accepted this answer or another.

    Args:
        client: The tracking store.
        run_id: The run that asks.
        letter: The letter of an option.
        by: The person who answers.
        asked_at: The time of the question that is meant, as the question has it; empty for the present one.

    Raises:
        UsageError: There is no such question or option.
        NoLongerWaits: No process waits for the answer any more.
        StillOpen: The process did not react within PATIENCE_SECONDS.
    """
    run = phase_run(client.get_run(run_id))
    option = _option(run, letter)
    question_time = asked_at or str(run.question.get("asked_at", ""))
    if early := _outcome(run, question_time):
        return early
    _check_waits(run, option)
    alive = is_alive(run.heartbeat, time.time())
    proposed, records = Answer(option, by, now()), Records(client)
    proposal = records.propose_answer(run_id, option.letter, by, proposed.at, question_time)
    deadline = time.monotonic() + (PATIENCE_SECONDS if alive else SILENT_PATIENCE_SECONDS)
    while time.monotonic() < deadline:
        run = phase_run(client.get_run(run_id))
        if outcome := _outcome(run, question_time, proposed):
            return outcome
        if alive and run.status == "FAILED":
            # It was alive and asked a moment ago: the answer reached it, and this is what came of that.
            why = f"{run.phase} {run.short}: the answer {option.letter} was not executed: {run.reason[:500]}"
            return AnswerReceipt(False, why)
        _check_waits(run, option)
        time.sleep(_LOOK_EVERY_SECONDS)
    if not alive:
        records.withdraw_proposal(run_id, proposal)  # Who gave it now acts otherwise.
        raise _no_longer_waits(run, option)
    raise StillOpen(
        f"{run.phase} {run.short} looks alive, but has not taken up the answer {option.letter} in "
        f"{PATIENCE_SECONDS:.0f} s. The answer is written down and counts as soon as it looks."
    )


def _option(run: PhaseRun, letter: str) -> Option:
    options = recorded_options(run.question)
    if not options:
        raise UsageError(f"{run.run_id}: that run asked nothing.")
    option = next((option for option in options if option.letter == letter.strip().upper()), None)
    if option is None:
        letters = ", ".join(option.letter for option in options)
        raise UsageError(f"{letter!r} is no option of it. Options: {letters}.")
    return option


def _outcome(run: PhaseRun, question_time: str, proposed: Answer | None = None) -> AnswerReceipt | None:
    """Return the receipt once a question is decided or replaced; None while it is open."""
    if str(run.question.get("asked_at", "")) != question_time:
        changed = f"Things changed while {run.phase} {short(run.run_id)} was asking, so it asks anew. Look again."
        return AnswerReceipt(False, changed)
    counted = next((option for option in recorded_options(run.question) if option.letter == run.answer), None)
    if counted is None:
        replaced = f"Things changed while {run.phase} {run.short} was asking; it asks no longer."
        return None if run.verdict == "ask" else AnswerReceipt(False, replaced)
    by = run.answered_by or "unknown"
    at = run.answered_at.isoformat(timespec="milliseconds") if run.answered_at else ""
    if proposed and (run.answer, by, run.answered_at) == (proposed.option.letter, proposed.by, moment(proposed.at)):
        return AnswerReceipt(True, f"{run.phase} {run.short}: {run.answer}) {counted.title}", run.answer, by, at)
    first = f"{run.answer} was answered before, by {by}; the first answer counts."
    return AnswerReceipt(False, first, run.answer, by, at)


def _check_waits(run: PhaseRun, option: Option) -> None:
    """Raise NoLongerWaits when that is certain. Clocks differ, so the age of another machine's heartbeat proves
    nothing.
    """
    lives = is_alive(run.heartbeat, time.time()) or whereabouts(run.heartbeat) == "elsewhere"
    if run.status != "RUNNING" or not lives:
        raise _no_longer_waits(run, option)


def _no_longer_waits(run: PhaseRun, option: Option) -> NoLongerWaits:
    commands = run.question.get("commands")
    again = commands.get(option.letter) if isinstance(commands, dict) else None
    if option.decide == "fail" and not again:
        return NoLongerWaits(f"{run.run_id} no longer waits: there is nothing to cancel.", "")
    command = again if isinstance(again, str) else f"mlflow run . -e {run.phase} -P decide={option.decide}"
    message = f"{run.run_id} no longer waits. Start {run.phase} again with that answer: {command}"
    return NoLongerWaits(message, command)


def given_answer(client: MlflowClient, run_id: str) -> Answer | None:
    """Return the answer that counts for the open question of a run, for the process that asks.

    That is the one in `phase.answer`, which people may set by hand, else the earliest proposal for this very question.
    """
    tags = client.get_run(run_id).data.tags
    question = mapping(tags.get(schema.QUESTION))
    options = {option.letter: option for option in recorded_options(question)}
    if option := options.get(tags.get(schema.ANSWER, "").strip().upper()):
        return Answer(option, tags.get(schema.ANSWERED_BY) or "unknown", tags.get(schema.ANSWERED_AT, ""))
    proposed = [mapping(value) for key, value in tags.items() if key.startswith(schema.PROPOSED_ANSWER)]
    for_this = [
        one for one in proposed if one.get("asked_at") == question.get("asked_at") and str(one.get("letter")) in options
    ]
    first = min(for_this, key=lambda one: str(one.get("at")), default=None)
    if first is None:
        return None
    return Answer(options[str(first["letter"])], str(first.get("by") or "unknown"), str(first.get("at") or ""))


class AnswerReader:
    """Look for an answer from elsewhere to the open question of a run, for the process that asks.

    A store that is away for a while ends no question: somebody may sit at the terminal, or have let the run wait
    overnight.
    """

    def __init__(self, client: MlflowClient, run_id: str, phase: str) -> None:
        self._client, self._run_id = client, run_id
        self._patience = StorePatience(phase)

    def __call__(self) -> Answer | None:
        """Return the answer that counts; None while there is none or the store does not answer."""
        try:
            return self._patience.read(lambda: given_answer(self._client, self._run_id))
        except StoreAway:
            return None
