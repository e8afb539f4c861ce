"""Final answers: taken out by their conventions, compared as values."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from lora_retraining.data.tasks import Task
from lora_retraining.grading import mathematics
from lora_retraining.grading.mathematics import extract_answer, gold_answer, number, same_answer
from lora_retraining.grading.objective import Grade, grade, grade_all


def task(answer: str = "She sells 16 - 7 = <<16-7=9>>9 eggs.\n#### 9") -> Task:
    return Task("t1", "gsm8k", "math", "test", "How many?", answer)


@pytest.mark.parametrize(
    ("gold", "given"),
    [
        ("1000", "1,000"),
        ("1000", "1 000"),
        ("1000", "1{,}000"),
        ("5", "$5.00"),
        ("5", "\\$5"),
        ("-5", "-$5"),
        ("-5", "\u22125"),
        ("0.5", "1/2"),
        ("0.5", "\\frac{1}{2}"),
        ("2.5", "2 1/2"),
        ("1/3", "0.333333333"),
        ("20", "20%"),
        ("0.2", "20\\%"),
        ("20%", "0.2"),
        ("18", "18 dollars per day"),
        ("5", "5\\text{ km}"),
        ("30", "30^\\circ"),
        ("2000000", "2 million"),
        ("1000000", "1e6"),
        ("18", "**18**."),
        ("18", "**18** dollars"),
        ("18", "18**"),
        ("18", "18m^2"),
        ("18", "18 dollars a day"),
        ("8", "2**3"),
        ("1024", "2^10"),
        ("1024", "2^{10}"),
        ("18", "$18$"),
    ],
)
def test_equal_values_are_equal_however_they_are_written(gold, given):
    assert same_answer(gold, given) is True


@pytest.mark.parametrize(
    ("gold", "given"),
    [
        ("18", "180"),
        ("18", "118"),
        ("18", "1.8"),
        ("18", "-18"),
        ("18", "18 or 20"),
        ("18", "20 and 18"),
        ("1/3", "0.333"),
        ("0.2%", "20%"),
        ("1000", "1,00"),
        ("5", "1/0"),
        ("23", "2**3"),
        ("2", "2x"),
        ("2x", "2"),
    ],
)
def test_other_values_are_not_equal_even_where_the_digits_are_contained(gold, given):
    assert same_answer(gold, given) is False


def test_expressions_are_compared_by_value_from_any_thread():
    with ThreadPoolExecutor() as pool:
        answers = pool.map(same_answer, ["6", "x+1", "6"], ["10-4", "1+x", "x+6"])
    assert list(answers) == [True, True, False]


def test_an_answer_that_takes_for_ever_to_compute_is_not_equal_and_the_next_is_still_compared(monkeypatch):
    assert same_answer("6", "10-4") is True
    monkeypatch.setattr(mathematics, "_SECONDS", 0.001)
    assert same_answer("6", "9^{9^{9^{9}}}+x") is False
    monkeypatch.undo()
    assert same_answer("6", "2+4") is True


def test_a_number_keeps_its_exact_value():
    assert number("$1,234.50") == number("1234.5")
    assert number("about 5") is None
    assert number("") is None
    assert number("1e999999") is None


@pytest.mark.parametrize(
    ("completion", "answer"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 7\n\nQuestion: and then?\n#### 12", "7"),
        ("so \\boxed{5}, no, \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("First the answer is 3. Now the answer is 4 apples. Done in 2 steps.", "4 apples"),
        ("**Answer:** $18", "$18"),
        ("The answer is 3 * 4 = 12.", "12"),
        ("The final answer is: 3.50 dollars.", "3.50 dollars"),
        ("He has 10 and gives 4, so 6 are left", "6"),
        ("It costs $1,200.", "$1,200"),
        ("I do not know", ""),
        ("", ""),
        ("The answer is 12 (twelve).", "12"),
    ],
)
def test_the_final_answer_is_found_by_its_convention(completion, answer):
    assert extract_answer(completion) == answer


def test_of_a_gold_answer_only_what_follows_the_hashes_counts():
    assert gold_answer("He has 3 of 8.\n#### 1,050") == "1,050"
    assert grade(task(), "I say 16\n#### 16") == Grade(False, "'16' is not '9'", "16")
    assert grade(task(), "The answer is 9 eggs.") == Grade(True, "equal", "9 eggs")


def test_a_completion_without_an_answer_is_wrong_and_a_task_without_one_is_undecided():
    assert grade(task(), "no idea").correct is False
    assert grade(task("because\nof that"), "The answer is 9").correct is None
    assert grade(Task("o", "chat", "open", "test", "Tell me", "Well"), "Well").correct is None


def test_grades_come_in_the_order_of_the_tasks():
    tasks = [task(f"#### {n}") for n in range(20)]
    assert [g.extracted for g in grade_all(tasks, [f"#### {n}" for n in range(20)])] == [str(n) for n in range(20)]
    with pytest.raises(ValueError, match="20 tasks but 1 completions"):
        list(grade_all(tasks, ["x"]))
