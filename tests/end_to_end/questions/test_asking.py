"""Questions and their answers: at a terminal, by `decide=`, from elsewhere, and when nobody is there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from four_phases import finished
from processes import PATIENCE_SECONDS, run_words, started
from project_folder import LOCAL, PHASES, ProjectFolder

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]

CHANGED = {"start": 5}
"""The reason why phase1 asks: its good run and all that was built on it would be superseded."""


@pytest.fixture
def asking(project: ProjectFolder) -> ProjectFolder:
    return finished(project)


@contextmanager
def at_a_terminal(project: ProjectFolder, route: str, **parameters: object) -> Iterator["pexpect.spawn[str]"]:
    program, *words = run_words("phase1", route, **CHANGED, **parameters)
    terminal = pexpect.spawn(
        str(Path(sys.executable).parent / program),
        words,
        cwd=str(project.folder),
        encoding="utf-8",
        timeout=PATIENCE_SECONDS,
        dimensions=(50, 400),
    )
    try:
        yield terminal
    finally:
        terminal.close(force=True)


def ended(terminal: "pexpect.spawn[str]") -> int | None:
    terminal.expect(pexpect.EOF)
    terminal.close()
    return terminal.exitstatus


def test_a_person_at_a_terminal_is_asked_again_until_the_answer_is_a_letter(asking: ProjectFolder, route: str) -> None:
    kept = asking.newest("phase1").info.run_id
    with at_a_terminal(asking, route) as terminal:
        terminal.expect_exact("running phase1 would make 3 good downstream runs stale")
        terminal.expect_exact("A) Keep phase1")
        terminal.expect_exact(
            "B) Run phase1 again; phase2, phase3 and phase4 become stale (recomputing them would take"
        )
        terminal.expect_exact("C) Run phase1 beside: phase1")
        terminal.expect_exact("D) Cancel, and change nothing")
        terminal.expect_exact("Which one? [A/B/C/D]")
        terminal.sendline("Z")
        terminal.expect_exact("Please answer A, B, C or D.")
        terminal.expect_exact("Which one? [A/B/C/D]")
        terminal.sendline("a")
        assert ended(terminal) == 0
    tags = asking.newest("phase1").data.tags
    assert (tags["phase.verdict"], tags["phase.reused_run_id"], tags["phase.answer"]) == ("reuse", kept, "A")
    assert tags["phase.answered_by"]
    assert asking.executed() == []


def test_the_end_of_the_input_is_no_answer(asking: ProjectFolder) -> None:
    with at_a_terminal(asking, PHASES) as terminal:
        terminal.expect_exact("Which one? [A/B/C/D]")
        terminal.sendeof()
        terminal.expect_exact("so nothing was run and nothing superseded")
        assert ended(terminal) == 3
    assert asking.newest("phase1").data.tags["phase.verdict"] == "ask"
    assert asking.executed() == []


def test_a_question_at_a_terminal_is_answered_from_elsewhere_too(asking: ProjectFolder) -> None:
    with at_a_terminal(asking, PHASES) as terminal:
        terminal.expect_exact("Which one? [A/B/C/D]")
        answered = asking.cli("answer", asking.newest("phase1").info.run_id, "A")
        assert answered.exit_code == 0, answered.text
        terminal.expect_exact("A was answered by")
        assert ended(terminal) == 0
    assert asking.newest("phase1").data.tags["phase.verdict"] == "reuse"


def test_ctrl_c_at_the_question_throws_nothing_away(asking: ProjectFolder) -> None:
    with at_a_terminal(asking, PHASES) as terminal:
        terminal.expect_exact("Which one? [A/B/C/D]")
        terminal.sendintr()
        assert ended(terminal) == 1
    assert asking.newest("phase1").info.status == "KILLED"
    assert asking.executed() == []


@pytest.mark.parametrize(
    ("decide", "exit_code", "verdict", "executed"),
    [("reuse", 0, "reuse", []), ("rerun", 0, "run", ["phase1"]), ("fail", 1, "ask", []), ("ask", 3, "ask", [])],
)
def test_a_caller_who_decides_beforehand_is_not_asked(
    asking: ProjectFolder, route: str, decide: str, exit_code: int, verdict: str, executed: list[str]
) -> None:
    result = asking.run("phase1", route, **CHANGED, decide=decide)
    assert (result.exit_code, asking.executed()) == (exit_code, executed), result.text
    run = asking.newest("phase1")
    assert run.data.tags["phase.verdict"] == verdict
    assert run.info.status == ("FAILED" if exit_code else "FINISHED")
    assert "Traceback" not in result.text


def test_decide_needs_no_declaration_with_the_backend(asking: ProjectFolder) -> None:
    asking.edit(
        "MLproject",
        "      start: {type: int, default: 1}\n      decide: {type: string, default: ask}\n",
        "      start: {type: int, default: 1}\n",
    )
    result = asking.run("phase1", **CHANGED, decide="rerun")
    assert (result.exit_code, asking.executed()) == (0, ["phase1"]), result.text


def test_the_commands_printed_when_nobody_is_there_work_as_they_are(asking: ProjectFolder, route: str) -> None:
    result = asking.run("phase1", route, **CHANGED)
    assert result.exit_code == 3, result.text
    commands = dict(re.findall(r"^  ([A-D])\) (mlflow run .*)$", result.text, re.MULTILINE))
    assert set(commands) == {"A", "B", "C"}

    for letter, verdict, executed in (("A", "reuse", []), ("B", "run", ["phase1"])):
        pasted = asking.command(*shlex.split(commands[letter]))
        assert (pasted.exit_code, asking.executed()) == (0, executed), pasted.text
        assert asking.newest("phase1").data.tags["phase.verdict"] == verdict


def test_the_printed_commands_name_the_project_as_seen_from_where_the_person_stands(
    asking: ProjectFolder, route: str
) -> None:
    words = run_words("phase1", route, **CHANGED)
    words[words.index(".")] = asking.folder.name
    program = Path(sys.executable).parent / words[0]
    result = subprocess.run(
        [program, *words[1:]], cwd=asking.folder.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert f"A) mlflow run {asking.folder.name} -e phase1 " in result.stderr


def test_the_mlflow_command_ends_with_3_with_the_backend_and_with_1_without(asking: ProjectFolder) -> None:
    for route, exit_code in ((PHASES, 3), (LOCAL, 1)):
        result = asking.command(*run_words("phase1", route, **CHANGED))
        assert result.exit_code == exit_code, result.text
        assert "Nobody is there to answer, so nothing was run and nothing superseded" in result.text
        assert asking.newest("phase1").data.tags["phase.verdict"] == "ask"


def test_an_answer_from_elsewhere_releases_a_waiting_run(asking: ProjectFolder) -> None:
    with started(asking, *run_words("phase1", PHASES, **CHANGED, decide="wait")) as waiting:
        waiting.wait_for("Waiting for: mlflow-phases answer")
        run_id = asking.newest("phase1").info.run_id
        assert f"mlflow-phases answer {run_id} A|B|C|D" in waiting.text

        wrong = asking.cli("answer", run_id, "Z")
        assert (wrong.exit_code, "'Z' is no option of it. Options: A, B, C, D" in wrong.text) == (2, True)
        assert waiting.process.poll() is None

        answered = asking.cli("answer", run_id, "a")
        assert answered.exit_code == 0, answered.text
        waiting.wait_for("A) Keep phase1")
        waiting.wait_for("chosen by")
        assert waiting.wait() == 0
    assert asking.newest("phase1").data.tags["phase.answer"] == "A"

    second = asking.cli("answer", run_id, "B")
    assert second.exit_code == 2
    assert re.search(r"A was answered before, by .+; the first answer counts", second.text)


def test_an_answer_that_comes_too_late_is_refused_with_what_to_type(asking: ProjectFolder) -> None:
    asking.run("phase1", **CHANGED)
    run_id = asking.newest("phase1").info.run_id

    late = asking.cli("answer", run_id, "B")

    assert (late.exit_code, "no longer waits" in late.text) == (2, True)
    command = late.text.strip().rpartition("again with that answer: ")[2]
    assert command == "mlflow run . -e phase1 -b phases -P start=5 -P decide=rerun"


@pytest.mark.parametrize(
    ("run_id", "said"), [("0" * 32, "there is no such run"), ("", "that run asked nothing")], ids=["unknown", "no_ask"]
)
def test_an_answer_to_a_run_that_asked_nothing_is_refused(asking: ProjectFolder, run_id: str, said: str) -> None:
    result = asking.cli("answer", run_id or asking.newest("phase1").info.run_id, "A")
    assert (result.exit_code, said in result.text) == (2, True), result.text
