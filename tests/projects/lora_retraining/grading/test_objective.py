"""Grading goes on whatever an answer is, and right answers of the benchmarks pass."""

import pytest
from lora_retraining.data.sources import load_tasks
from lora_retraining.data.tasks import Task
from lora_retraining.grading import objective
from lora_retraining.grading.objective import grade, grade_all

from mlflow_plugin.errors import PhaseError

ADD = Task("m/1", "mbpp", "code", "test", "Add.", "", "assert add(2, 3) == 5", "add")
CONTINUED = Task("h/1", "humaneval", "code", "test", "Add.", "", "assert add(2, 3) == 5", "add", "def add(a, b):\n")
SUM = Task("g/1", "gsm8k", "math", "test", "2 + 3?", "5")
RIGHT = "def add(a, b):\n    return a + b\n"
HEAVY = {
    "a long sum": "1+" * 20_000 + "1",
    "a sum as deep as the stack": "1+" * 400 + "1",
    "signs": "-" * 20_000 + "1",
    "attributes": "x" + ".y" * 20_000,
    "calls": "x" + "()" * 20_000,
    "brackets": "[" * 150 + "]" * 150,
    "too many brackets": "(" * 20_000 + ")" * 20_000,
    "choices": "1 if 1 else " * 4_000 + "1",
    "digits": "9" * 30_000,
    "digits in base 16": "0x" + "f" * 30_000,
    "a lone surrogate": "'\ud800'",
    "a NUL": "'\0'",
}


@pytest.mark.parametrize(
    ("task", "what"),
    [*((ADD, what) for what in HEAVY), (CONTINUED, "a long sum"), (CONTINUED, "digits in base 16"), (SUM, "digits")],
    ids=lambda value: value.dataset if isinstance(value, Task) else value,
)
def test_an_answer_that_is_hard_to_read_has_a_grade(task, what):
    heavy = f"def helper(x={HEAVY[what]}):\n    return {HEAVY[what]}\n"
    completion = f"```python\n{heavy}```\nand then\n```python\n{RIGHT.replace('+', '-')}```\n#### {HEAVY[what]}"
    assert grade(task, completion).correct is not True


def test_an_error_in_grading_one_answer_is_its_grade(monkeypatch):
    def fail(task, completion):
        raise RecursionError("too\ndeep") if "def" in completion else PhaseError("no sandbox here")

    monkeypatch.setattr(objective, "grade_code", fail)
    grades = [*grade_all([ADD, SUM], [RIGHT, "#### 5"])]
    assert [given.correct for given in grades] == [None, True]
    assert grades[0].reason == "it could not be graded: RecursionError: too deep"
    with pytest.raises(PhaseError, match="no sandbox here"):
        grade(ADD, "x")


NEEDS_MORE_THAN_PLAIN_CALLS = (32, 33, 38, 44, 50, 53, 151)


def test_right_solutions_whose_tests_call_helpers_or_draw_numbers_pass():
    by_number = {int(task.id.rpartition("/")[2]): task for task in load_tasks("humaneval", "test")}
    tasks = [by_number[number] for number in NEEDS_MORE_THAN_PLAIN_CALLS]
    assert [given.reason for given in grade_all(tasks, [task.answer for task in tasks])] == ["passed"] * len(tasks)


def test_a_helper_of_the_prompt_keeps_its_meaning():
    prefix = "def encode(text):\n    return text[::-1]\n\n\ndef decode(text):\n"
    check = "def check(candidate):\n    assert candidate(encode('abc')) == 'abc'\n"
    task = Task("h/2", "humaneval", "code", "test", "Decode.", "", check, "decode", f'{prefix}    """Undo encode."""\n')
    assert grade(task, f"{prefix}    return text[::-1]").correct is True
    assert grade(task, f"{prefix}    return text\n\n\ndef encode(text):\n    return text").correct is False


def test_a_value_that_cannot_cross_is_neither_right_nor_wrong():
    given = grade(ADD, "class E:\n    __eq__ = lambda *_: True\ndef add(a, b):\n    return E()")
    assert given.correct is None
    assert given.reason.startswith("undecided: its tests need the comparison of a value")
