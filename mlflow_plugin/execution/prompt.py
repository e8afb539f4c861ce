"""Obtain the answer to a question: from the caller's `decide`, at the terminal, or from elsewhere while waiting.

Besides the log handler the one place outside `cli/` that writes to the terminal: a prompt waits for input.
"""

import logging
import select
import sys
import threading
import time
from collections.abc import Callable, Sequence

from mlflow_plugin.decision.asking import CANCEL
from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Option, Verdict
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.format import short
from mlflow_plugin.machine.pausing import pause
from mlflow_plugin.markdown import printable

_logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
_terminal = threading.Lock()
"""Phases that are computed side by side ask one after another."""
_SAY_EVERY_SECONDS = 30.0


def question_text(verdict: Verdict, phase: str = "") -> str:
    """Return the question as a person reads it: the reasons, and what each option keeps, supersedes and costs."""
    lines = [
        f"{phase or verdict.phase}: a decision is needed.",
        *(f"  {indented(reason)}" for reason in verdict.reasons),
        "",
    ]
    for option in verdict.options:
        lines.append(f"  {option.letter}) {option.title} - {option.price()}")
        lines += [f"       keeps  {kept}" for kept in option.keeps]
        lines += [f"       supersedes  {one.sentence()}" for one in option.supersedes]
    return "\n".join(lines)


def indented(text: str) -> str:
    """Return a text whose further lines are indented: a line break in a text of the store forges no line of ours."""
    return text.replace("\n", "\n    ")


def option_commands(request: Request, verdict: Verdict) -> dict[str, str]:
    """Return the command to type for each option, by its letter; none for one that changes nothing."""
    return {
        option.letter: _remedy(request, verdict, option)
        if option.decide == "fail"
        else request.invocation.command(decide=option.decide)
        for option in verdict.options
        if option.title != CANCEL
    }


def commands_text(request: Request, verdict: Verdict, run_id: str) -> str:
    """Return the exact command for each option, for when nobody is there to answer."""
    invocation = request.invocation
    commands = option_commands(request, verdict)
    lines = [
        "Nobody is there to answer, so nothing was run and nothing superseded "
        f"(run {short(run_id)} records the question). Choose one:"
    ]
    lines += [f"  {letter}) {command}" for letter, command in commands.items()]
    lines.append(f"  or let it wait for an answer from elsewhere: {invocation.command(decide='wait')}")
    return "\n".join(lines)


def obtain_answer(
    request: Request, verdict: Verdict, run_id: str, read_answer: Callable[[], Answer | None], user: str
) -> Answer:
    """Return the answer to a question.

    Args:
        request: The request; its `decide` says who answers.
        verdict: The question.
        run_id: The run that asks.
        read_answer: Returns the answer from elsewhere to this question, or None.
        user: The name of the person at this terminal.

    Raises:
        NeedsAnswer: Nobody is there to answer.
        PhaseError: For `decide=fail`.
    """
    text = question_text(verdict, request.label)
    if request.decide == "fail":
        raise PhaseError(f"{text}\n\ndecide=fail: stopped before running or superseding anything.")
    if request.decide in ("reuse", "rerun", "beside"):
        # A question without a re-run is about the inputs alone: `rerun` computes with them as they are.
        return Answer(verdict.option(request.decide) or verdict.options[0], f"{user} (decide={request.decide})")
    return _ask_somebody(request, verdict, run_id, text, read_answer, user)


def check_not_stopped(request: Request, verdict: Verdict, answer: Answer) -> None:
    """Raise PhaseError when the answer is to stop. Called after the answer is recorded, since its author waits to see
    it.
    """
    option = answer.option
    if option.decide != "fail":
        return
    if option.title == CANCEL:
        raise PhaseError(f"{request.phase.name}: cancelled by {answer.by}; nothing was computed or changed.")
    raise PhaseError(f"{request.phase.name}: {option.title}. {_remedy(request, verdict, option)}")


def _remedy(request: Request, verdict: Verdict, option: Option) -> str:
    """Say what to do before the phase is asked for again, for an option that stops."""
    if verdict.kind == "unseen":
        return f"Then: {request.invocation.command()}"
    force = {"decide": "rerun"} if verdict.kind == "old" else {}
    commands = [request.command_for(need, **force) for need in option.renews]
    return f"For that: {'; '.join(commands) or 'update the files that it reads'}"


def _ask_somebody(
    request: Request,
    verdict: Verdict,
    run_id: str,
    text: str,
    read_answer: Callable[[], Answer | None],
    user: str,
) -> Answer:
    if request.decide == "wait":
        return _wait(verdict, run_id, text, read_answer)
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        while not _terminal.acquire(timeout=POLL_SECONDS):
            pause(0)  # Another phase asks; this one may be told to end meanwhile.
        try:
            return _prompt(request, verdict, run_id, text, read_answer, user)
        finally:
            _terminal.release()
    raise NeedsAnswer(f"{text}\n\n{commands_text(request, verdict, run_id)}")


def _prompt(
    request: Request,
    verdict: Verdict,
    run_id: str,
    text: str,
    read_answer: Callable[[], Answer | None],
    user: str,
) -> Answer:
    letters = [option.letter for option in verdict.options]
    _say(f"\n{text}\n\n")
    while True:
        _say(f"Which one? [{'/'.join(letters)}] ")
        while not _typed(POLL_SECONDS):
            pause(0)
            if answer := _elsewhere(verdict, read_answer):
                _say(f"\n{answer.option.letter} was answered by {answer.by}\n")
                return answer
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError:
            line = "?\n"  # No letter of an option either.
        if not line:
            raise NeedsAnswer(
                f"{verdict.phase}: the input ended without an answer. {commands_text(request, verdict, run_id)}"
            )
        if option := verdict.option(line.strip().upper()):
            # Somebody else may have been first while this was typed.
            return _elsewhere(verdict, read_answer) or Answer(option, user)
        _say(f"Please answer {_either(letters)}.\n")


def _say(text: str) -> None:
    """Write to the terminal. Reasons and options hold texts of the store, none of which it may obey."""
    print(printable(text), end="", file=sys.stderr, flush=True)


def _typed(seconds: float) -> bool:
    """Wait so many seconds, and return whether a line can be read or the input has ended."""
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):
        return (
            True  # Not a file that can be waited for, as on Windows: reading it waits, and answers there alone count.
        )


def _elsewhere(verdict: Verdict, read_answer: Callable[[], Answer | None]) -> Answer | None:
    answer = read_answer()
    option = verdict.option(answer.option.letter) if answer else None
    return Answer(option, answer.by, answer.at) if answer and option else None


def _either(letters: Sequence[str]) -> str:
    return " or ".join([", ".join(letters[:-1]), letters[-1]]) if len(letters) > 1 else letters[0]


def _wait(verdict: Verdict, run_id: str, text: str, read_answer: Callable[[], Answer | None]) -> Answer:
    letters = "|".join(option.letter for option in verdict.options)
    _logger.info(f"\n{text}\n\nWaiting for: mlflow-phases answer {run_id} {letters}")
    began = reported = time.monotonic()
    while True:
        if answer := _elsewhere(verdict, read_answer):
            return answer
        if time.monotonic() - reported > _SAY_EVERY_SECONDS:
            reported = time.monotonic()
            _logger.info(f"{verdict.phase}: still waiting for an answer ({reported - began:.0f} s)")
        pause(POLL_SECONDS)
