"""Code taken out of completions, and graded by its tests."""

from lora_retraining.data.tasks import Task
from lora_retraining.grading.code import extract_code, with_call_of_check
from lora_retraining.grading.objective import grade, grade_all

PREFIX = '''from typing import List


def helper(x):
    return x + 1


def total(xs: List[int]) -> int:
    """Sum."""
'''
CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert helper(1) == 2\n"
HUMANEVAL = Task("h/0", "humaneval", "code", "test", PREFIX, "    return sum(xs)\n", CHECK, "total", PREFIX)
MBPP = Task("m/1", "mbpp", "code", "test", "Add.", "def sum(a, b):\n    return a + b", "assert sum(1, 2) == 3", "sum")


def test_the_block_that_defines_the_entry_point_is_taken():
    text = "Run:\n```bash\nls\n```\nFirst:\n```python\nx = 1\n```\nthen\n```python\ndef f():\n    return 2\n```\nbye"
    assert extract_code(text, "f") == "def f():\n    return 2\n"
    assert extract_code(text, "g") == "x = 1\n"


def test_a_block_that_was_cut_off_still_counts():
    assert extract_code("```python\ndef f():\n    return 2", "f") == "def f():\n    return 2"

    text = "```python\ndef f():\n    return 2\n\ndef main():\n    print("
    assert extract_code(text, "f").rstrip() == "def f():\n    return 2", "what follows was never finished"
    assert "print(" in extract_code(f"{text}\n```", "f"), "but what was finished wrongly is wrong"


def test_code_in_a_list_and_helpers_in_blocks_of_their_own_are_found():
    assert grade(MBPP, "1. Add:\n   ```python\n   def sum(a, b):\n       return a + b\n   ```").correct is True
    blocks = ["import operator\nprint(missing)", "def plus(a, b):\n    return operator.add(a, b)"]
    blocks.append("def sum(a, b):\n    return plus(a, b)")
    assert grade(MBPP, "\n".join(f"```python\n{block}\n```" for block in blocks)).correct is True


def test_unfenced_code_is_found_between_prose():
    assert (
        extract_code("Here you are:\n\ndef f():\n    return 2\n\nThat's it, isn't it?", "f")
        .strip()
        .endswith("return 2")
    )
    assert extract_code("def f():\n    return 2", "f") == "def f():\n    return 2"
    assert extract_code("I cannot, I'm sorry.", "f") == ""


def test_a_bare_body_goes_on_from_the_prefix():
    for body in (
        "    return sum(xs)\n",
        "return sum(xs)",
        "n = 0\n    for x in xs:\n        n += x\n    return n",
        "```python\n    return sum(xs)\n```",
        "import functools\nreturn functools.reduce(int.__add__, xs)",
        "    return sum(xs)\n\nThis sums the list, that's all.",
    ):
        assert grade(HUMANEVAL, body).correct is True, body


def test_a_whole_function_has_the_imports_and_helpers_of_the_prompt():
    whole = "```python\ndef total(xs: List[int]) -> int:\n    return helper(sum(xs)) - 1\n```"
    assert grade(HUMANEVAL, whole).correct is True
    assert grade(HUMANEVAL, PREFIX + "    return sum(xs)\n").correct is True


def test_wrong_code_says_which_test_it_failed():
    failed = grade(HUMANEVAL, "    return 0\n")
    assert failed.correct is False
    assert failed.reason == "failed: AssertionError in the test: assert candidate([1, 2]) == 3"
    assert failed.extracted.endswith("return 0")


def test_check_is_called_once_and_only_where_the_tests_leave_that_open():
    assert with_call_of_check(HUMANEVAL).endswith("check(total)\n")
    called = Task("h/0", "humaneval", "code", "test", "p", "a", CHECK + "\ncheck(total)\n", "total")
    assert with_call_of_check(called) == called.tests
    assert with_call_of_check(MBPP) == MBPP.tests


def test_a_function_named_like_a_builtin_is_the_one_that_is_tested():
    assert grade(MBPP, "```python\ndef sum(a, b):\n    return a + b\n```").correct is True
    assert grade(MBPP, "```python\ndef sum(a, b):\n    return a - b\n```").correct is False


def test_a_solution_cannot_change_what_its_tests_mean():
    task = Task("m/2", "mbpp", "code", "test", "Root.", "", "assert abs(root(4) - 2) < 1e-6", "root")
    for trick in (
        "def abs(x):\n    return 0\ndef root(x):\n    return 5",
        "import builtins\nbuiltins.abs = lambda x: 0\ndef root(x):\n    return 5",
        "AssertionError = ValueError\ndef root(x):\n    return 5",
    ):
        assert grade(task, f"```python\n{trick}\n```").correct is False, trick
    assert grade(task, "```python\ndef root(x):\n    return x ** 0.5\n```").correct is True


def test_a_completion_without_code_is_wrong_and_a_task_without_tests_undecided():
    assert grade(MBPP, "Sorry.").reason == "no code in the completion"
    assert grade(MBPP, "").correct is False
    assert grade(Task("m", "mbpp", "code", "test", "p", "a"), "x = 1").correct is None


def test_grading_in_parallel_keeps_the_order():
    codes = [f"```python\ndef sum(a, b):\n    return a + b + {n % 2}\n```" for n in range(6)]
    assert [g.correct for g in grade_all([MBPP] * 6, codes, workers=2)] == [True, False] * 3
