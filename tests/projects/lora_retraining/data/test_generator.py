"""Generated tasks: right, reproducible, and with splits that share nothing by the measure of overlap."""

import hashlib
import json
import re
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lora_retraining.data.families import ARITHMETIC, CODE
from lora_retraining.data.generator import generated_tasks, training_rows
from lora_retraining.data.overlap import find_overlap
from lora_retraining.data.tasks import Task


def code_of(task: Task) -> str:
    fenced = re.fullmatch(r"```python\n(.*)\n```", task.answer, re.DOTALL)
    assert fenced is not None
    return fenced[1]


@given(st.sampled_from(["train", "test"]), st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_every_code_answer_passes_its_own_tests_of_which_only_the_first_is_shown(split: Any, seed: int) -> None:
    for task in generated_tasks(split, 20, seed)[1::2]:
        exec(f"{code_of(task)}\n{task.tests}", {})
        shown, *hidden = task.tests.splitlines()
        assert shown in task.prompt
        assert len(hidden) == 2
        assert len({test.partition(" == ")[2] for test in (shown, *hidden)}) > 1
        assert f"def {task.entry_point}(" in task.answer
        assert task.kind == "code"


@given(st.sampled_from(["train", "test"]), st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_every_step_of_an_arithmetic_answer_is_right_and_uses_numbers_of_the_question(split: Any, seed: int) -> None:
    for task in generated_tasks(split, 20, seed)[::2]:
        steps, final = task.answer.split("\n#### ")
        known = set(re.findall(r"\d+", task.prompt))
        for left, operator, right, value in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)\.", steps):
            assert {left, right} <= known
            assert {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}.get(
                operator, int(left) / int(right)
            ) == int(value)
            known.add(value)
        assert final == value
        assert int(final) >= 0
        assert task.kind == "math"


ARITHMETIC_BY_HAND = [
    ({"a": 20, "b": 7, "c": 3}, 24),
    ({"a": 4, "b": 7, "c": 3}, 19),
    ({"a": 30, "b": 4, "c": 5}, 2),
    ({"a": 6, "b": 10, "c": 4}, 14),
    ({"a": 4, "b": 9, "c": 2}, 17),
    ({"a": 3, "b": 20, "c": 4}, 8),
    ({"a": 5, "c": 3, "b": 0}, 20),
    ({"a": 8, "b": 3, "c": 0}, 19),
    ({"a": 7, "b": 5, "c": 4}, 3),
    ({"a": 7, "b": 5, "c": 2}, 24),
]


@pytest.mark.parametrize(("family", "by_hand"), list(zip(ARITHMETIC, ARITHMETIC_BY_HAND, strict=True)))
def test_the_steps_of_a_family_answer_its_question(family: Any, by_hand: tuple[dict[str, int], int]) -> None:
    numbers, expected = by_hand
    values = dict(numbers)
    for operator, left, right in family.steps:
        a, b = values[left], values[right]
        values["last"] = {"+": a + b, "-": a - b, "*": a * b, "/": a // b if b else 0}[operator]
    assert values["last"] == expected


CODE_BY_HAND = [
    ([1, 5, 3, 4], [5, 4]),
    ([3, 4, 6, 7], 9),
    ([0, 2], [2, 8]),
    ([1, 2, 3, 0], 3),
    ([4, 9, 1, 7], [9, 7, 4]),
    ([2, 8, 5], 18),
    ([1, 7, 3], [3, 7, 3]),
    ([3, 4, 6], [9, 36]),
    ([1, 2, 3, 4], [4, 3, 2]),
    ([4, 9, 5], 22),
    ("red moon sun", ["moon"]),
    ("moon sun", "oom"),
    ("red sun", " SUN"),
    ("red moon sun", 5),
]


@pytest.mark.parametrize(("family", "by_hand"), list(zip(CODE, CODE_BY_HAND, strict=True)))
def test_the_tests_of_a_family_ask_for_what_it_describes(family: Any, by_hand: tuple[Any, Any]) -> None:
    argument, expected = by_hand
    assert family.expected(argument, 3, 2) == expected


def test_a_split_is_the_same_on_any_machine_and_a_larger_count_only_adds() -> None:
    tasks = generated_tasks("train", 40, seed=7)
    assert generated_tasks("train", 15, seed=7) == tasks[:15]
    assert len({task.id for task in tasks}) == len({task.prompt for task in tasks}) == 40
    assert {task.id.rpartition("/")[0] for task in tasks} == {"generated/train/7"}
    written = json.dumps([asdict(task) for task in tasks], sort_keys=True)
    assert hashlib.sha256(written.encode()).hexdigest()[:16] == "c33de0fbd92a105b"


@pytest.mark.parametrize(("train", "test"), [(3000, 5), (3000, 60), (1500, 500)])
def test_no_test_task_is_near_to_a_training_task(train: int, test: int) -> None:
    texts: Any = {"train": {}, "test": {}}
    for split, count in (("train", train), ("test", test)):
        texts[split] = {task.id: task.prompt for task in generated_tasks(split, count, seed=3)}
    assert find_overlap(texts["train"], texts["test"]) == []


def test_no_wording_is_put_into_the_same_request_in_both_splits() -> None:
    frames: dict[str, set[str]] = {}
    splits: Any = ("train", "test")
    for split in splits:
        tasks = generated_tasks(split, 2000, seed=0)[1::2]
        frames[split] = {re.sub(r"`\w+`|\d+", "_", task.prompt.partition("\n")[0]) for task in tasks}
    assert not frames["train"] & frames["test"]
    assert len(frames["train"]) == len(frames["test"]) == 2 * len(CODE)


def test_no_task_is_given_twice() -> None:
    tasks = generated_tasks("test", 4000, seed=0)
    assert len({task.prompt for task in tasks}) == 4000


def test_rows_are_short_chats_of_one_question_and_its_answer() -> None:
    rows = training_rows(generated_tasks("train", 50, seed=0))
    assert all([message["role"] for message in row["messages"]] == ["user", "assistant"] for row in rows)
    assert max(len(message["content"]) for row in rows for message in row["messages"]) < 400
