"""Answers from elsewhere: by HTTP and in Python, to real processes that wait, and by several people at once."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from processes import Started, run_words, started
from simulation import Simulation

from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.execution import answers
from mlflow_plugin.execution.answers import AnswerReceipt, NoLongerWaits, answer, given_answer
from mlflow_plugin.store import schema
from tests.end_to_end.dashboard.site import DATA, Reply, Site, ask
from tests.end_to_end.dashboard.waiting import ask_about, open_question, waiting
from tests.servers.process import wait_until


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that waits looks often."""
    monkeypatch.setattr("mlflow_plugin.execution.prompt.POLL_SECONDS", 0.02)
    monkeypatch.setattr(answers, "_LOOK_EVERY_SECONDS", 0.02)


def test_an_answer_counts_once_the_waiting_process_has_taken_it(demo: Simulation, quick: None) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        answered = answer(demo.client, run_id, "a", "ada")
        wait_until(lambda: outcome, "it went on")
    run = demo.run(run_id)
    assert (answered.counted, answered.letter, answered.by) == (True, "A", "ada")
    assert answered.message.startswith(f"train {run.short}: A) Keep train")
    assert (run.answer, run.answered_by, run.verdict) == ("A", "ada", "reuse")
    assert run.answered_at is not None
    assert answered.at == run.answered_at.isoformat(timespec="milliseconds")


def test_of_many_answers_at_once_one_counts_and_the_others_are_told_which_one(demo: Simulation, quick: None) -> None:
    people = [f"person {number}" for number in range(8)]
    with waiting(ask_about(demo)) as (run_id, outcome), ThreadPoolExecutor(len(people)) as pool:
        barrier = threading.Barrier(len(people))

        def reply(number: int) -> AnswerReceipt:
            barrier.wait(30)
            return answer(demo.client, run_id, "AB"[number % 2], people[number])

        results = list(pool.map(reply, range(len(people))))
        wait_until(lambda: outcome, "it went on")
    (first,) = [result for result in results if result.counted]
    assert {(result.letter, result.by, result.at) for result in results} == {(first.letter, first.by, first.at)}
    run = demo.run(run_id)
    assert (run.answer, run.answered_by) == (first.letter, first.by)
    assert run.verdict == {"A": "reuse", "B": "run"}[first.letter]
    late = next(result for result in results if not result.counted)
    assert late.message == f"{first.letter} was answered before, by {first.by}; the first answer counts."


def test_an_answer_to_stop_is_reported_as_counted_too(demo: Simulation, quick: None) -> None:
    demo.edit("MLproject", "      needs: [collect]\n", "      needs: [collect]\n      max_age: 1m\n")
    collected = demo.compute("collect")
    demo.client.set_tag(collected, schema.COMPLETED_AT, "2026-01-01T00:00:00+00:00")
    with waiting(demo) as (run_id, outcome):
        stop = next(one["letter"] for one in demo.run(run_id).question["options"] if one["decide"] == "fail")
        answered = answer(demo.client, run_id, stop, "ada")
        wait_until(lambda: outcome, "it ended")
    assert answered.counted
    assert "For that: mlflow run" in str(outcome[0])
    run = demo.run(run_id)
    assert (run.status, run.answer, run.answered_by) == ("FAILED", stop, "ada")


def test_an_answer_to_cancel_changes_nothing(demo: Simulation, quick: None) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        answered = answer(demo.client, run_id, "C", "ada")
        wait_until(lambda: outcome, "it ended")
    assert (answered.counted, answered.letter) == (True, "C")
    assert str(outcome[0]) == "train: cancelled by ada; nothing was computed or changed."
    assert demo.run(run_id).status == "FAILED"
    assert "C was answered before, by ada" in answer(demo.client, run_id, "C", "grace").message


def test_a_person_is_told_when_an_answer_could_not_be_executed(demo: Simulation, quick: None, ask_always: None) -> None:
    demo.compute("collect")
    kept = demo.compute("train", epochs=20)
    demo.compute("evaluate")
    with waiting(demo) as (run_id, outcome):
        shutil.rmtree(f"{demo.run(kept).artifact_uri}/outputs")
        answered = answer(demo.client, run_id, "A", "ada")
        wait_until(lambda: outcome, "it ended")
    assert (answered.counted, answered.letter) == (False, "")
    assert "the answer A was not executed" in answered.message
    assert "lost its outputs: result.txt is gone" in answered.message
    assert demo.run(run_id).answer == ""


def test_a_person_is_told_when_things_changed_before_an_answer(demo: Simulation, quick: None) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        demo.edit("train.py", "print(2)", "print(20)")
        answered = answer(demo.client, run_id, "A", "ada")
        wait_until(lambda: outcome, "it went on")
    assert not answered.counted
    assert "asks no longer" in answered.message
    assert (demo.run(run_id).verdict, demo.run(run_id).answer) == ("run", "")


def test_an_answer_that_was_set_as_a_tag_still_counts(demo: Simulation, quick: None) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        demo.client.set_tag(run_id, schema.ANSWER, "a")
        wait_until(lambda: outcome, "it went on")
    run = demo.run(run_id)
    assert (run.answer, run.answered_by, run.verdict) == ("A", "unknown", "reuse")
    assert run.answered_at is not None


def test_an_answer_to_a_question_that_was_replaced_does_not_count(demo: Simulation, quick: None) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        replaced = answer(demo.client, run_id, "A", "ada", asked_at="2026-01-01T00:00:00.000+00:00")
        assert (replaced.counted, replaced.letter) == (False, "")
        assert "asks anew" in replaced.message
        stale = {"letter": "A", "by": "ada", "at": "2026-01-01T00:00:01.000+00:00", "asked_at": "2026-01-01"}
        demo.client.set_tag(run_id, f"{schema.PROPOSED_ANSWER}1", json.dumps(stale))
        demo.client.set_tag(run_id, f"{schema.PROPOSED_ANSWER}2", "no JSON")
        assert given_answer(demo.client, run_id) is None
        assert answer(demo.client, run_id, "B", "grace").counted
        wait_until(lambda: outcome, "it went on")
    assert demo.run(run_id).answered_by == "grace"


def test_the_earliest_of_several_proposals_is_taken(demo: Simulation) -> None:
    with pytest.raises(PhaseError):
        ask_about(demo).settle("train")
    (run,) = demo.history().search("tags.`phase.verdict` = 'ask'", 1)
    for letter, by, second in (("B", "grace", 2), ("A", "ada", 1), ("Z", "mallory", 0)):
        at = f"2026-11-20T08:00:0{second}.000+00:00"
        proposal = {"letter": letter, "by": by, "at": at, "asked_at": run.question["asked_at"]}
        demo.client.set_tag(run.run_id, f"{schema.PROPOSED_ANSWER}{by}", json.dumps(proposal))
    found = given_answer(demo.client, run.run_id)
    assert found is not None
    assert (found.option.letter, found.by, found.at) == ("A", "ada", "2026-11-20T08:00:01.000+00:00")


def asking(demo: Simulation) -> str:
    """The id of a run that asks, alive, and whose process does not look for answers."""
    run_id = demo.records.create(ask_about(demo).request("train"))
    demo.records.ask(run_id, demo.decide("train"))
    return run_id


@pytest.mark.parametrize("odd", ['{"letter": ["A"], "at": null}', '{"letter": {}, "at": 7}', "[" * 4000, "7", "{}"])
def test_a_proposal_that_is_none_ends_no_waiting(demo: Simulation, odd: str) -> None:
    run_id = asking(demo)
    meant = demo.run(run_id).question["asked_at"]
    demo.client.set_tag(run_id, f"{schema.PROPOSED_ANSWER}1", odd.replace("}", f', "asked_at": "{meant}"}}'))
    assert given_answer(demo.client, run_id) is None
    sound = {"letter": "B", "by": None, "at": None, "asked_at": meant}
    demo.client.set_tag(run_id, f"{schema.PROPOSED_ANSWER}2", json.dumps(sound))
    found = given_answer(demo.client, run_id)
    assert found is not None
    assert (found.option.letter, found.by, found.at) == ("B", "unknown", "")


@pytest.mark.parametrize(
    "question",
    [
        '{"options": 7}',
        '{"options": [7, {}, {"letter": ["A"]}]}',
        '{"options": [{"letter": "A"}], "commands": 7}',
        '{"options": [{"letter": "A"}], "commands": {"A": 7}, "asked_at": [1]}',
    ],
)
def test_a_damaged_question_is_refused_with_a_reason(demo: Simulation, question: str) -> None:
    run_id = asking(demo)
    demo.client.set_tag(run_id, schema.QUESTION, question)
    assert given_answer(demo.client, run_id) is None
    demo.client.set_terminated(run_id, "FAILED")
    with pytest.raises(UsageError):
        answer(demo.client, run_id, "A", "ada")


def test_an_answer_to_a_run_that_no_longer_asks_is_refused_at_once(demo: Simulation) -> None:
    run_id = asking(demo)
    demo.client.set_tag(run_id, schema.VERDICT, "run")
    answered = answer(demo.client, run_id, "A", "ada")
    assert (answered.counted, answered.letter) == (False, "")
    assert "asks no longer" in answered.message
    assert not [key for key in demo.tags(run_id) if key.startswith(schema.PROPOSED_ANSWER)]


def test_an_answer_reaches_a_process_on_a_machine_whose_clock_is_slow(
    demo: Simulation, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with waiting(ask_about(demo)) as (run_id, outcome):
        monkeypatch.setattr(answers, "is_alive", lambda beat, now: False)
        monkeypatch.setattr(answers, "whereabouts", lambda beat: "elsewhere")
        answered = answer(demo.client, run_id, "A", "ada")
        wait_until(lambda: outcome, "it went on")
    assert answered.counted


def test_a_silent_process_elsewhere_that_does_not_react_no_longer_waits(
    demo: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = asking(demo)
    beat = {**demo.run(run_id).heartbeat, "boot": "another", "at": time.time() - 3600}
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(beat))
    monkeypatch.setattr(answers, "SILENT_PATIENCE_SECONDS", 0.1)
    with pytest.raises(NoLongerWaits):
        answer(demo.client, run_id, "A", "ada")
    assert given_answer(demo.client, run_id) is None  # It must not count should the process wake up.


def test_an_answer_to_a_question_without_a_process_shows_the_command(demo: Simulation) -> None:
    with pytest.raises(PhaseError):
        ask_about(demo).settle("train")
    (run,) = demo.history().search("tags.`phase.verdict` = 'ask'", 1)
    with pytest.raises(NoLongerWaits) as error:
        answer(demo.client, run.run_id, "B", "ada")
    assert error.value.command.startswith("mlflow run ")
    assert error.value.command.endswith(" -P decide=rerun")
    assert error.value.command in str(error.value)
    assert not [key for key in demo.tags(run.run_id) if key.startswith(schema.PROPOSED_ANSWER)]


@pytest.mark.parametrize(
    ("phase", "letter", "said"), [("collect", "A", "that run asked nothing"), ("train", "Z", "'Z' is no option of it")]
)
def test_a_wrong_answer_is_refused(demo: Simulation, phase: str, letter: str, said: str) -> None:
    with pytest.raises(PhaseError):
        ask_about(demo).settle("train")
    (run,) = demo.history().search(f"tags.`phase.name` = '{phase}'", 1)
    with pytest.raises(UsageError, match=said):
        answer(demo.client, run.run_id, letter, "ada")


def test_a_process_that_does_not_react_is_reported(demo: Simulation, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_about(demo)
    request = demo.request("train")
    run_id = demo.records.create(request)
    demo.records.ask(run_id, demo.decide("train"))
    monkeypatch.setattr(answers, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(answers.StillOpen, match="counts as soon as it looks"):
        answer(demo.client, run_id, "A", "ada")


# --- by HTTP, to real processes ---


def post(site: Site, run_id: str, letter: str, **more: str) -> Reply:
    return ask(f"{site.url}{DATA}/answer", {"run_id": run_id, "letter": letter, **more})


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch, site: Site) -> Callable[[Simulation], Any]:
    """Return a function that starts `mlflow run` of a project's phase train, waiting for an answer."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", site.store)

    @contextmanager
    def start(demo: Simulation) -> Iterator[tuple[str, Started]]:
        words = run_words("train", "phases", decide="wait")
        place = SimpleNamespace(folder=demo.folder)
        with started(place, *words, "--experiment-id", demo.experiment_id) as running:  # type: ignore[arg-type]
            running.wait_for("Waiting for: mlflow-phases answer")
            yield open_question(demo), running

    return start


@pytest.mark.end_to_end
def test_a_waiting_process_continues_within_two_seconds_of_the_answer(site: Site, process: Callable[..., Any]) -> None:
    demo = ask_about(site.demo("goes on"))
    with process(demo) as (run_id, running):
        began = time.monotonic()
        reply = post(site, run_id, "A", asked_at=demo.run(run_id).question["asked_at"])
        running.wait_for("chosen by")
        took = time.monotonic() - began
        assert running.wait() == 0, running.text
    assert took < 2
    run = demo.run(run_id)
    assert (run.answer, run.verdict) == ("A", "reuse")
    assert run.answered_by == "somebody at 127.0.0.1, on the page"
    assert (reply.status, reply.json["counted"], reply.json["letter"]) == (200, True, "A")
    assert reply.json["answered_by"] == run.answered_by

    late = post(site, run_id, "B")
    assert (late.status, late.json["counted"], late.json["letter"]) == (409, False, "A")
    assert "A was answered before, by somebody at 127.0.0.1" in late.json["message"]


@pytest.mark.end_to_end
def test_two_people_answer_at_once_and_the_second_is_told_of_the_first(site: Site, process: Callable[..., Any]) -> None:
    demo = ask_about(site.demo("at once"))
    with process(demo) as (run_id, running), ThreadPoolExecutor(2) as pool:
        barrier = threading.Barrier(2)

        def click(letter: str) -> Reply:
            barrier.wait(30)
            return post(site, run_id, letter)

        replies = dict(zip("AB", pool.map(click, "AB"), strict=True))
        running.wait_for("chosen by")
        running.wait()
    assert sorted(reply.status for reply in replies.values()) == [200, 409]
    (counted,) = [letter for letter, reply in replies.items() if reply.status == 200]
    assert {reply.json["letter"] for reply in replies.values()} == {counted}
    assert demo.run(run_id).answer == counted
    assert f"{counted}) " in running.text.rpartition("[phases] train: ")[0]


@pytest.mark.end_to_end
def test_a_question_whose_process_has_ended_is_answered_with_the_command(site: Site) -> None:
    demo = ask_about(site.demo("ended"))
    with pytest.raises(PhaseError):
        demo.settle("train")
    (run,) = demo.history().search("tags.`phase.verdict` = 'ask'", 1)
    reply = post(site, run.run_id, "A")
    assert reply.status == 410
    assert reply.json["command"].endswith("-P decide=reuse")
    assert reply.json["command"] in reply.json["message"]


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ({"run_id": "0" * 32, "letter": "A"}, {}, 404, "There is no"),
        ({"run_id": "../../x", "letter": "A"}, {}, 400, "run_id"),
        ({"run_id": 7, "letter": "A"}, {}, 400, "send {"),
        ([], {}, 400, "send {"),
        (b"{", {}, 400, "send {"),
        (b" " * 20_000, {}, 400, "send {"),
        (b"[" * 9_000, {}, 400, "send {"),
        (b"run_id=1&letter=A", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "Send JSON"),
        (b'{"run_id": "1"}', {"Content-Type": "text/plain"}, 415, "Send JSON"),
        ({"run_id": "1", "letter": "A"}, {"Origin": "https://evil.example"}, 403, "Cross-origin"),
        ({"run_id": "1", "letter": "A"}, {"Sec-Fetch-Site": "same-site"}, 403, "this server's own page"),
    ],
    ids=[
        "unknown",
        "path",
        "number",
        "list",
        "broken",
        "large",
        "nested",
        "form",
        "plain",
        "cross_origin",
        "same_site",
    ],
)
def test_a_request_that_is_no_answer_from_the_page_is_refused(
    site: Site, body: Any, headers: dict[str, str], status: int, said: str
) -> None:
    reply = ask(f"{site.url}{DATA}/answer", body, headers)
    assert (reply.status, said in reply.text) == (status, True), reply.text
    assert "Traceback" not in reply.text


def test_an_answer_that_was_not_taken_up_in_time_is_no_fault_of_the_sender() -> None:
    from mlflow_plugin.dashboard.routes import _trouble

    reply = _trouble(answers.StillOpen("it counts as soon as it looks"))
    assert (reply.status_code, (reply.json or {})["message"]) == (503, "it counts as soon as it looks")
