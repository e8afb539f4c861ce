"""Turning `ask` into an answer: from the caller's `decide`, from a person at the terminal, or from elsewhere while
waiting.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.evidence import Request
from mlflow_plugin.names import short
from mlflow_plugin.verdict import Option, Verdict

POLL_SECONDS = 0.5
_SAY_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Answer:
    """The option that was chosen, and by whom."""

    option: Option
    by: str


def question_text(verdict: Verdict) -> str:
    """The question as a person reads it: why, and each option with what it keeps, throws away and costs."""
    lines = [f"{verdict.phase}: a decision is needed.", *(f"  {reason}" for reason in verdict.reasons), ""]
    for option in verdict.options:
        lines.append(f"  {option.letter}) {option.title} - {option.price()}")
        lines += [f"       keeps  {kept}" for kept in option.keeps]
        lines += [f"       throws away  {loss.sentence()}" for loss in option.throws_away]
    return "\n".join(lines)


def option_commands(request: Request, verdict: Verdict) -> dict[str, str]:
    """What to type for each option, by its letter."""
    return {
        option.letter: _renewal(request, verdict)
        if option.decide == "fail"
        else request.invocation.command(decide=option.decide)
        for option in verdict.options
    }


def commands_text(request: Request, verdict: Verdict, run_id: str) -> str:
    """The exact command for each option, for when nobody is there to answer."""
    invocation = request.invocation
    commands = option_commands(request, verdict)
    lines = [
        f"Nobody is there to answer, so nothing was run or thrown away (run {short(run_id)} is marked). Choose one:"
    ]
    lines += [f"  {letter}) {command}" for letter, command in commands.items()]
    lines.append(f"  or let it wait for an answer from elsewhere: {invocation.command(decide='wait')}")
    return "\n".join(lines)


def settle(request: Request, verdict: Verdict, run_id: str, read_answer: Callable[[], str], user: str) -> Answer:
    """The answer to a question. `read_answer` returns the answer recorded on the waiting run, or an empty text.

    Raises NeedsAnswer when nobody is there, PhaseError for `decide=fail`.
    """
    text = question_text(verdict)
    if request.decide == "fail":
        raise PhaseError(f"{text}\n\ndecide=fail: stopped without running or throwing away anything.")
    if request.decide in ("reuse", "rerun"):
        # A question without a re-run is about the inputs' age alone: `rerun` computes with them as they are.
        answer = Answer(verdict.option(request.decide) or verdict.options[0], f"{user} (decide={request.decide})")
    else:
        answer = _ask_somebody(request, verdict, run_id, text, read_answer, user)
    if answer.option.decide == "fail":
        raise PhaseError(f"{request.phase.name}: {answer.option.title}. {_renewal(request, verdict)}")
    return answer


def _renewal(request: Request, verdict: Verdict) -> str:
    renewals = [request.invocation.command(need, decide="rerun") for need in verdict.inputs]
    return f"For that: {'; '.join(renewals) or 'renew the files that it reads'}"


def _ask_somebody(
    request: Request, verdict: Verdict, run_id: str, text: str, read_answer: Callable[[], str], user: str
) -> Answer:
    if request.decide == "wait":
        return _wait(verdict, run_id, text, read_answer)
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        return Answer(_prompt(request, verdict, run_id, text), user)
    raise NeedsAnswer(f"{text}\n\n{commands_text(request, verdict, run_id)}")


def _prompt(request: Request, verdict: Verdict, run_id: str, text: str) -> Option:
    letters = [option.letter for option in verdict.options]
    print(f"\n{text}\n", file=sys.stderr, flush=True)
    while True:
        print(f"Which one? [{'/'.join(letters)}] ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise NeedsAnswer(
                f"{verdict.phase}: the input ended without an answer. {commands_text(request, verdict, run_id)}"
            )
        if option := verdict.option(line.strip().upper()):
            return option
        print(f"Please answer {_either(letters)}.", file=sys.stderr, flush=True)


def _either(letters: Sequence[str]) -> str:
    return " or ".join([", ".join(letters[:-1]), letters[-1]]) if len(letters) > 1 else letters[0]


def _wait(verdict: Verdict, run_id: str, text: str, read_answer: Callable[[], str]) -> Answer:
    letters = "|".join(option.letter for option in verdict.options)
    print(f"\n{text}\n\nWaiting for: mlflow-phases answer {run_id} {letters}", file=sys.stderr, flush=True)
    began = said = time.monotonic()
    while True:
        letter, _, by = read_answer().partition("\n")
        if option := verdict.option(letter.strip()):
            return Answer(option, by or "unknown")
        if time.monotonic() - said > _SAY_EVERY_SECONDS:
            said = time.monotonic()
            print(f"{verdict.phase}: still waiting for an answer ({said - began:.0f} s)", file=sys.stderr, flush=True)
        time.sleep(POLL_SECONDS)
