"""Failures to train on, and their descriptions."""

import pytest
from lora_retraining.data.failures import (
    Attempt,
    deduplicated,
    description,
    failure_row,
    summarised,
    without_test_tasks,
)
from lora_retraining.data.generator import generated_tasks
from lora_retraining.data.tasks import Grade, Task

from mlflow_plugin.errors import PhaseError

WRONG = Grade(False, "'7' is not '9'", "7")
RIGHT = Grade(True, "equal", "9")
UNDECIDED = Grade(None, "the task has no tests")
STORIES = (
    "A baker sells seventeen loaves in the morning and keeps five for the neighbours. How many are sold?",
    "Two trains leave Vienna at noon, one twice as fast as the other. When do they meet?",
    "The gardener waters each of her forty roses with a third of a litre. How many litres are needed?",
)


def task(number: int, prompt: str = "", split: str = "train") -> Task:
    return Task(f"t{number}", "gsm8k", "math", split, prompt or STORIES[number % 3], "So it is 9.\n#### 9")


def attempts(*grades: Grade) -> list[Attempt]:
    return [Attempt(task(number), "It is 7.", False, grade) for number, grade in enumerate(grades)]


def test_only_what_is_graded_as_wrong_is_a_failure():
    right, wrong, undecided = attempts(RIGHT, WRONG, UNDECIDED)
    assert [attempt.outcome for attempt in (right, wrong, undecided)] == ["right", "failed", "undecided"]
    assert [attempt.failed for attempt in (right, wrong, undecided)] == [False, True, False]


def test_an_answer_cut_off_where_the_right_one_would_be_too_says_nothing():
    assert Attempt(task(0), "Well, ...", True, WRONG, too_short=True).outcome == "cut_off"
    assert Attempt(task(0), "Well, ...", True, WRONG, too_short=False).outcome == "failed"


def test_a_task_of_a_test_split_is_refused_by_name():
    with pytest.raises(PhaseError, match=r"1 of 2 tasks to take failures from are of a test split, such as t1\."):
        without_test_tasks([task(0), task(1, split="test")], [])
    with pytest.raises(PhaseError, match="such as t0"):
        without_test_tasks([task(0)], [task(0)])


def test_a_task_that_stands_in_a_test_set_is_left_out_however_it_is_called():
    tests = [task(10, STORIES[0], "test"), task(11, STORIES[1].replace("Vienna", "Graz"), "test")]
    left, inside = without_test_tasks([task(0), task(1), task(2)], tests)
    assert [one.id for one in left] == ["t2"]
    assert inside == ["t0", "t1"]


def test_the_generated_train_split_passes_against_the_test_split():
    train = generated_tasks("train", 40, seed=0)
    assert without_test_tasks(train, generated_tasks("test", 40, seed=0)) == (train, [])


def test_of_the_same_and_nearly_the_same_failures_the_first_stays():
    same = Attempt(task(3, STORIES[0]), "x", False, WRONG)
    near = Attempt(task(4, STORIES[1].replace("noon", "dawn")), "x", False, WRONG)
    failed = [*attempts(WRONG, WRONG, WRONG), same, near, attempts(WRONG)[0]]
    assert [attempt.task.id for attempt in deduplicated(failed)] == ["t0", "t1", "t2"]
    assert [attempt.task.id for attempt in deduplicated(list(reversed(failed)))] == ["t0", "t4", "t2"]
    assert deduplicated([]) == []


def test_a_row_teaches_the_right_answer_and_says_where_it_comes_from():
    row = failure_row(attempts(WRONG)[0], "c0ffee")
    assert row["messages"] == [
        {"role": "user", "content": STORIES[0]},
        {"role": "assistant", "content": "So it is 9.\n#### 9"},
    ]
    assert row["provenance"] == {
        "task": "t0",
        "dataset": "gsm8k",
        "split": "train",
        "model": "c0ffee",
        "completion": "It is 7.",
        "cut": False,
        "extracted": "7",
        "reason": "'7' is not '9'",
    }


def test_the_counts_add_up_and_name_the_reasons():
    code = Task("c", "mbpp", "code", "train", "Add.", "def f(): ...", "assert f()", "f")
    tried = [*attempts(RIGHT, WRONG, UNDECIDED), Attempt(code, "x", False, Grade(False, "timeout: did not end", "x"))]
    tried.append(Attempt(task(4, STORIES[1]), "x", False, Grade(False, "no answer in the completion")))
    kept = deduplicated([attempt for attempt in tried if attempt.failed])
    summary = summarised(tried, kept, ["t9"], "c0ffee")
    assert (summary["attempted"], summary["failed"], summary["failures"], summary["duplicates"]) == (5, 3, 2, 1)
    assert summary["right"] + summary["failed"] + summary["undecided"] + summary["cut_off"] == 5
    assert summary["reasons"] == {"math: another value": 1, "code: timeout": 1, "math: no answer": 1}
    assert summary["by_dataset"]["mbpp"] == {"attempted": 1, "failed": 1, "failures": 1}
    assert summary["by_kind"]["math"] == {"attempted": 4, "failed": 2, "failures": 1}
    text = description(summary, 96, "run7")
    assert "fails 3 (60.0%; 95%: 23.1% to 88.2%); 2 of them are handed on, 1 are nearly the same" in text
    assert "| code: timeout | 1 |" in text


def test_a_model_without_failures_is_described_in_words():
    tried = attempts(RIGHT, RIGHT)
    told = "There is nothing to train on. Of 2 tasks the model solves 2 and really fails none."
    assert told in description(summarised(tried, [], [], "c0ffee"), 96, "run7")


def test_where_the_limit_of_tokens_hid_the_failures_that_is_said():
    tried = [*attempts(RIGHT), Attempt(task(1), "Well, ...", True, WRONG, too_short=True)]
    message = "1 cannot be graded: their right answers are longer than max_new_tokens=16; raise it."
    assert message in description(summarised(tried, [], [], "c0ffee"), 16, "run7")
