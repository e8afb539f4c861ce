"""The open questions: those that wait, those that ended without an answer, and their options."""

import json

from mlflow_plugin.execution.prompt import question_text
from mlflow_plugin.reports.views.questions import questions_view
from mlflow_plugin.store import schema

BORDERLINE = {"fidelity": 0.8, "held_out": 0.8}


def ask(demo, phase: str = "train") -> str:
    """Lets a run ask and wait, as a process of this machine."""
    decision = demo.decide(phase)
    assert decision.verdict.action == "ask"
    run_id = demo.records.create(decision.request)
    demo.records.ask(run_id, decision)
    return run_id


def questions(demo) -> list[dict]:
    return json.loads(json.dumps([one.to_json() for one in questions_view(demo.history())], allow_nan=False))


def borderline(demo) -> str:
    demo.compute("collect")
    run_id = demo.compute("train", metrics=BORDERLINE, seconds=600.0)
    demo.compute("evaluate", seconds=60.0)
    return run_id


def test_a_waiting_question_shows_its_options_as_the_terminal_does(demo):
    kept = borderline(demo)
    verdict = demo.decide("train").verdict
    run_id = ask(demo)
    (found,) = questions(demo)
    assert (found["run_id"], found["phase"], found["kind"], found["waiting"]) == (run_id, "train", "borderline", True)
    assert found["reasons"] == list(verdict.reasons)
    text = question_text(verdict)
    for option in found["options"]:
        assert f"{option['letter']}) {option['title']} - {option['price']}" in text
        assert all(f"keeps  {kept}" in text for kept in option["keeps"])
        assert all(run["sentence"] in text for run in option["supersedes"])
    keep, again, cancel = found["options"]
    assert (keep["reruns"], again["supersedes"][0]["run_id"]) == ([], kept)
    assert again["reruns"] == ["train"]
    assert "; evaluate becomes stale (recomputing it would take " in again["title"]
    assert again["command"].endswith("-P decide=rerun")
    assert (cancel["decide"], cancel["price"], cancel["supersedes"]) == ("fail", "nothing is computed", [])


def test_an_answered_question_is_open_no_more(demo):
    borderline(demo)
    run_id = ask(demo)
    demo.client.set_tag(run_id, "phase.answer", "A")
    assert questions(demo) == []


def test_a_question_that_nobody_answered_in_time_stays_until_its_phase_is_started_again(demo):
    borderline(demo)
    first = ask(demo)
    demo.records.end(first, "FAILED")
    second = ask(demo)
    demo.records.end(second, "FAILED")
    (found,) = questions(demo)
    assert (found["run_id"], found["waiting"]) == (second, False)
    demo.settle("train", decide="reuse")
    assert questions(demo) == []


def test_a_question_whose_process_died_waits_no_more(demo):
    borderline(demo)
    run_id = ask(demo)
    demo.die(run_id)
    (found,) = questions(demo)
    assert (found["run_id"], found["waiting"]) == (run_id, False)


def test_two_questions_that_wait_at_once_are_both_there_newest_first(demo):
    borderline(demo)
    first, second = ask(demo), ask(demo)
    assert [question["run_id"] for question in questions(demo)] == [second, first]


def test_a_letter_that_somebody_set_by_hand_answers_only_when_it_is_an_option(demo):
    borderline(demo)
    run_id = ask(demo)
    demo.client.set_tag(run_id, schema.ANSWER, "Z")
    assert [question["run_id"] for question in questions(demo)] == [run_id]
    demo.client.set_tag(run_id, schema.ANSWER, "a")
    assert questions(demo) == []
