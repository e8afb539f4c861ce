import io
import itertools
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution import prompt as questions
from mlflow_plugin.execution.prompt import check_not_stopped, obtain_answer, question_text
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.project import Phase, Project

RUN_ID = "c0ffee12" * 4
LOST = SupersededRun("steer", "ab0de000" * 4, 0.9, "shift", None, 660.0, 0.43)
KEEP = Option("A", "reuse", "Keep train c0ffee12 and continue", (LOST.sentence(),))
AGAIN = Option("B", "rerun", "Run train again, then steer", (), (LOST,), ("train", "steer"), 1560.0, 0.95)
RENEW = Option("B", "fail", "Stop, and update collect first", renews=("collect",))
CANCEL = Option("C", "fail", "Cancel, and change nothing")
QUESTION = Verdict("train", "ask", ("its inputs differ",), "stale", options=(KEEP, AGAIN), inputs={"collect": "5eed"})
OLD = Verdict("train", "ask", ("collect is old",), "old", options=(KEEP, RENEW), inputs={"collect": "5eed"})


def request(decide: str = "ask", asked_as: Invocation | None = None) -> Request:
    phase = Phase("train", "python train.py", {"epochs": Parameter("epochs", "int", 10)}, needs=("collect",))
    project = Project("demo", Path.cwd(), Path("MLproject"), {"train": phase})
    given = {"epochs": 20, "decide": decide}
    return Request(project, phase, given, client=None, experiment_id="0", asked_as=asked_as)


def nobody() -> None:
    return None


def ask(verdict: Verdict = QUESTION, decide: str = "ask", read_answer=nobody) -> Answer:
    answer = obtain_answer(request(decide), verdict, RUN_ID, read_answer, "ada")
    check_not_stopped(request(decide), verdict, answer)
    return answer


class Terminal(io.StringIO):
    """Standard input with somebody at it, who types these lines."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def typing(monkeypatch, capsys):
    """Return a function that lets a person type lines at the terminal."""

    def type_lines(text: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(text))
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    return type_lines


def test_a_question_shows_why_and_for_each_option_what_is_kept_thrown_away_and_paid():
    assert question_text(QUESTION) == (
        "train: a decision is needed.\n"
        "  its inputs differ\n"
        "\n"
        "  A) Keep train c0ffee12 and continue - nothing is computed\n"
        "       keeps  steer ab0de000, shift 0.9, took 11 min, cost $0.43\n"
        "  B) Run train again, then steer - computes train, steer: about 26 min and $0.95\n"
        "       supersedes  steer ab0de000, shift 0.9, took 11 min, cost $0.43"
    )


@pytest.mark.parametrize(("decide", "option"), [("reuse", KEEP), ("rerun", AGAIN)])
def test_the_callers_decision_is_taken_without_asking(decide, option):
    assert ask(decide=decide) == Answer(option, f"ada (decide={decide})")


def test_typing_what_is_no_text_asks_again(typing, monkeypatch, capsys):
    typing("")
    monkeypatch.setattr("sys.stdin.readline", iter([b"\xe9\n", b"B\n"]).__next__)
    readline = sys.stdin.readline
    monkeypatch.setattr("sys.stdin.readline", lambda: readline().decode("utf-8"))
    assert ask(decide="ask").option == AGAIN
    assert "Please answer A or B." in capsys.readouterr().err


def test_to_rerun_where_the_inputs_are_old_means_to_go_on_with_them():
    assert ask(OLD, "rerun").option == KEEP


def test_to_fail_stops_with_the_question_and_throws_nothing_away():
    with pytest.raises(PhaseError) as error:
        ask(decide="fail")
    assert error.value.exit_code == 1
    assert str(error.value).startswith(question_text(QUESTION))
    assert "decide=fail: stopped before running or superseding anything" in str(error.value)


def test_with_nobody_there_the_question_ends_with_the_command_of_each_option(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("A\n"))
    with pytest.raises(NeedsAnswer) as error:
        ask()
    assert error.value.exit_code == 3
    text = str(error.value)
    assert text.startswith(question_text(QUESTION))
    assert (
        "Nobody is there to answer, so nothing was run and nothing superseded (run c0ffee12 records the question)"
        in text
    )
    assert "  A) mlflow run . -e train -P epochs=20 -P decide=reuse\n" in text
    assert "  B) mlflow run . -e train -P epochs=20 -P decide=rerun\n" in text
    assert text.endswith("mlflow run . -e train -P epochs=20 -P decide=wait")


def test_the_commands_are_those_of_what_was_typed(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    typed = Invocation(Path("/data/my project"), "main", {"prompt": "it's"}, "phases", "7")
    with pytest.raises(NeedsAnswer) as error:
        obtain_answer(request(asked_as=typed), QUESTION, RUN_ID, nobody, "ada")
    line = next(line for line in str(error.value).splitlines() if line.startswith("  A) mlflow"))
    assert shlex.split(line.removeprefix("  A) ")) == [
        *("mlflow", "run", "/data/my project", "-e", "main", "-b", "phases", "--experiment-id", "7"),
        *("-P", "prompt=it's", "-P", "decide=reuse"),
    ]


def test_for_old_inputs_the_command_renews_the_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(NeedsAnswer, match=r"B\) For that: mlflow run \. -e collect -P decide=rerun"):
        ask(OLD)


@pytest.mark.parametrize(("line", "option"), [("A\n", KEEP), ("b\n", AGAIN), (" B ", AGAIN)])
def test_a_person_at_the_terminal_answers_with_a_letter(typing, capsys, line, option):
    typing(line)
    assert ask() == Answer(option, "ada")
    assert "Which one? [A/B] " in capsys.readouterr().err


def test_a_question_at_a_terminal_can_be_answered_from_elsewhere(typing, capsys, monkeypatch):
    typing("")
    answers = iter([None, Answer(Option("B", "rerun", ""), "grace")])
    monkeypatch.setattr(questions, "_typed", lambda seconds: False)
    assert ask(read_answer=lambda: next(answers)) == Answer(AGAIN, "grace")
    assert "B was answered by grace" in capsys.readouterr().err


def test_what_somebody_else_answered_while_a_person_typed_counts(typing):
    typing("A\n")
    assert ask(read_answer=lambda: Answer(Option("B", "rerun", ""), "grace")) == Answer(AGAIN, "grace")


def test_what_is_no_option_is_asked_again(typing, capsys):
    typing("yes\n\nC\nA\n")
    assert ask().option == KEEP
    assert capsys.readouterr().err.count("Please answer A or B.") == 3


def test_input_that_ends_is_no_answer(typing):
    typing("")
    with pytest.raises(NeedsAnswer, match=r"ended without an answer(.|\n)*nothing was run(.|\n)*decide=rerun"):
        ask()


def test_a_question_can_be_cancelled_and_offers_no_command_for_that(typing, monkeypatch):
    cancellable = replace(QUESTION, options=(KEEP, AGAIN, CANCEL))
    typing("C\n")
    with pytest.raises(PhaseError, match=r"train: cancelled by ada; nothing was computed or changed\."):
        ask(cancellable)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(NeedsAnswer) as error:
        ask(cancellable)
    assert "  B) mlflow run" in str(error.value)
    assert "  C) mlflow run" not in str(error.value)


def test_mixed_generations_are_updated_without_force(typing):
    renew = Option("B", "fail", "Stop, and update c first", renews=("c",))
    typing("B\n")
    with pytest.raises(PhaseError, match=r"Stop, and update c first\. For that: mlflow run \. -e c$"):
        ask(replace(OLD, kind="generations", options=(KEEP, renew)))


def test_a_missing_folder_is_brought_back_before_the_same_command():
    bring_back = Option("A", "fail", "Stop, and bring back /mnt/runs/0 first")
    answer = Answer(bring_back, "ada")
    with pytest.raises(PhaseError, match=r"bring back /mnt/runs/0 first\. Then: mlflow run \. -e train"):
        check_not_stopped(request(), replace(OLD, kind="unseen", options=(bring_back, AGAIN)), answer)


def test_beside_is_an_answer_of_a_caller_too():
    beside = Option("C", "beside", "Run train beside")
    assert ask(replace(QUESTION, options=(KEEP, AGAIN, beside)), "beside").option == beside


def test_stopping_to_renew_old_inputs_is_told_how(typing):
    typing("B\n")
    with pytest.raises(PhaseError, match=r"Stop, and update collect first\. For that: mlflow run \. -e collect"):
        ask(OLD)


def test_waiting_ends_with_the_answer_that_somebody_recorded(monkeypatch, capsys):
    answers = iter(
        [
            None,
            None,
            Answer(Option("Z", "reuse", ""), "mallory"),
            Answer(Option("B", "rerun", ""), "grace", "2026-11-20T08:00:00.000+00:00"),
        ]
    )
    pauses = []
    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=lambda: 0.0))
    monkeypatch.setattr(questions, "pause", pauses.append)
    assert ask(decide="wait", read_answer=lambda: next(answers)) == Answer(
        AGAIN, "grace", "2026-11-20T08:00:00.000+00:00"
    )
    assert pauses == [questions.POLL_SECONDS] * 3
    assert f"Waiting for: mlflow-phases answer {RUN_ID} A|B" in capsys.readouterr().err


def test_waiting_says_now_and_then_that_it_still_waits(monkeypatch, capsys):
    clock = itertools.count(0.0, 20.0)
    answers = iter([None] * 6 + [Answer(Option("A", "reuse", ""), "unknown")])
    monkeypatch.setattr(questions, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(questions, "pause", lambda seconds: None)
    assert ask(decide="wait", read_answer=lambda: next(answers)).by == "unknown"
    assert "train: still waiting for an answer (" in capsys.readouterr().err
