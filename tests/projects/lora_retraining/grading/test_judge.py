"""The API judge, against a real server on this machine."""

import json
from collections.abc import Callable

import pytest
from judging import judging
from lora_retraining.data.tasks import Task
from lora_retraining.grading.judge import Judge, read_choice

from mlflow_plugin.errors import PhaseError, UsageError

TASK = Task("o1", "chat", "open", "test", "Say something kind.", "")


def tasks(count: int) -> list[Task]:
    return [Task(f"o{n}", "chat", "open", "test", "Say something kind.", "") for n in range(count)]


def prefers(word: str) -> Callable[[str], str]:
    """A judge that looks at the answers: the one with the word is better."""

    def answer(shown: str) -> str:
        in_a = word in shown.split("<answer_a>")[1].split("</answer_a>")[0]
        in_b = word in shown.split("<answer_b>")[1].split("</answer_b>")[0]
        return "TIE" if in_a == in_b else "A" if in_a else "B"

    return answer


def test_a_judge_that_always_takes_the_first_gives_only_ties():
    for word in ("A", "B"):
        with judging(lambda _, word=word: word) as (url, asked):
            judge = Judge(url, "m")
            assert {judge(task, "mine", "theirs") for task in tasks(3)} == {"tie"}
            assert len(asked) == 6


def test_a_judge_that_looks_decides_for_either_side():
    with judging(prefers("kind")) as (url, asked):
        assert Judge(url, "m")(TASK, "a kind word", "no") == "win"
        assert Judge(url, "m")(TASK, "no", "a kind word") == "loss"
        assert Judge(url, "m")(TASK, "no", "nor this") == "tie"
        assert asked[0]["path"] == "/v1/chat/completions"
        assert asked[0]["model"] == "m"


def test_equal_answers_are_a_tie_without_asking():
    with judging(lambda _: "A") as (url, asked):
        assert Judge(url, "m")(TASK, "same", " same\n") == "tie"
        assert asked == []


@pytest.mark.parametrize(
    ("text", "choice"),
    [("A", "A"), (" **B**.\n", "B"), ("tie", "TIE"), ("<think>A is long</think>\nB", "B"), ("A or B", None),
     ("Answer A is better", None), ("", None)],
)  # fmt: skip
def test_only_the_one_word_that_was_asked_for_counts(text, choice):
    assert read_choice(text) == choice


def test_a_judge_that_talks_leaves_the_pair_undecided_and_says_so(capsys):
    with judging(lambda _: "Both have their merits.") as (url, _):
        assert Judge(url, "m")(TASK, "mine", "theirs") == "none"
    assert "did not answer with A, B or TIE" in capsys.readouterr().err


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_endpoint_is_asked_again(status):
    trouble = [(status, "busy")] * 2
    with judging(lambda shown: trouble.pop() if trouble else prefers("kind")(shown)) as (url, asked):
        assert Judge(url, "m", backoff_seconds=0.01)(TASK, "kind", "no") == "win"
        assert len(asked) == 4


def test_a_judge_that_fails_half_way_keeps_its_verdicts_and_is_resumed_where_it_stopped():
    answered = iter(range(100))
    fails_from = 4  # two tasks, in two orders each
    look = prefers("kind")
    pairs = [(task, "kind", "no") for task in tasks(4)]
    with judging(lambda shown: look(shown) if next(answered) < fails_from else (500, "out of order")) as (url, asked):
        judge = Judge(url, "m", retries=1, backoff_seconds=0.01)
        with pytest.raises(PhaseError, match=r"answered 500: out of order. 2 verdicts are kept.*run the same again"):
            [judge(*pair) for pair in pairs]
        assert judge.verdicts == {"o0": "win", "o1": "win"}
        fails_from = 1000
        asked.clear()
        resumed = Judge(url, "m")
        resumed.load_state_dict(json.loads(json.dumps(judge.state_dict())))
        assert [resumed(*pair) for pair in pairs] == ["win"] * 4
        assert len(asked) == 4


def test_an_endpoint_that_is_not_there_is_named():
    judge = Judge("http://127.0.0.1:9/v1", "m", retries=1, backoff_seconds=0.01)
    with pytest.raises(PhaseError, match=r"http://127.0.0.1:9/v1/chat/completions did not answer: ConnectionError"):
        judge(TASK, "mine", "theirs")


def test_an_answer_that_is_no_chat_completion_is_told():
    with (
        judging(lambda _: (200, "<html>")) as (url, _),
        pytest.raises(PhaseError, match="sent no chat completion: <html>"),
    ):
        Judge(url, "m")(TASK, "mine", "theirs")


def test_the_key_comes_from_the_environment_and_is_shown_nowhere(monkeypatch, capsys):
    monkeypatch.setenv("JUDGE_API_KEY", "sk-very-secret")
    with judging(lambda _: (401, "Incorrect API key provided: sk-very-secret")) as (url, asked):
        judge = Judge(url, "m")
        with pytest.raises(PhaseError, match=r"answered 401: Incorrect API key provided: \.\.\.") as error:
            judge(TASK, "mine", "theirs")
        assert asked[0]["key"] == "Bearer sk-very-secret"
        assert len(asked) == 1  # What is refused for good is not asked again.
    assert "sk-very-secret" not in str(error.value) + repr(judge.state_dict()) + capsys.readouterr().err


def test_a_model_that_takes_no_temperature_is_asked_without():
    def answer(shown: str) -> str | tuple[int, str]:
        return (400, "Unsupported value: 'temperature'") if "temperature" in asked[-1] else prefers("kind")(shown)

    with judging(answer) as (url, asked):
        assert Judge(url, "m")(TASK, "kind", "no") == "win"


@pytest.mark.parametrize("url", ["none", "", "ftp://host", "https://key@host/v1"])
def test_what_is_no_address_is_refused_before_anything_is_asked(url):
    with pytest.raises(UsageError, match=r"no address of a chat endpoint.*JUDGE_API_KEY"):
        Judge(url, "m")
    with pytest.raises(UsageError, match="judge_model"):
        Judge("https://host/v1", "none")
