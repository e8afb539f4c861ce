"""Outcomes: grades first, a judge only where there is none, and two wrong answers never look like good news."""

import pytest
from lora_retraining.data.tasks import Grade, Kind, Task
from lora_retraining.settings import PRESETS
from lora_retraining.validation.gates import Gate, judge
from lora_retraining.validation.outcomes import Item, by_grades, count, decide, of_dataset
from lora_retraining.validation.session import find_judge
from projects_common.statistics import Pairs

from mlflow_plugin.errors import UsageError

RIGHT, WRONG, UNGRADED = Grade(True, "right"), Grade(False, "wrong"), Grade(None, "nothing decides")


def item(candidate: Grade, reference: Grade | None, kind: Kind = "math", name: str = "t") -> Item:
    task = Task(name, f"{kind}set", kind, "test", "question", "answer")
    other = None if reference is None else "theirs"
    return Item(task, "prompt", "ours", False, candidate, reference_completion=other, reference_grade=reference)


def never(task: Task, ours: str, theirs: str) -> str:
    raise AssertionError(f"the judge was asked about {task.id}")


@pytest.mark.parametrize(
    ("candidate", "reference", "outcome"),
    [
        (RIGHT, WRONG, "win"),
        (WRONG, RIGHT, "loss"),
        (RIGHT, RIGHT, "tie_both_right"),
        (WRONG, WRONG, "both_wrong"),
        (UNGRADED, RIGHT, "none"),
        (RIGHT, UNGRADED, "none"),
        (RIGHT, None, "none"),
    ],
)
def test_both_grades_decide_an_outcome(candidate: Grade, reference: Grade | None, outcome: str) -> None:
    assert by_grades(candidate, reference) == outcome


@pytest.mark.parametrize("candidate", [RIGHT, WRONG])
@pytest.mark.parametrize("reference", [RIGHT, WRONG])
@pytest.mark.parametrize("kind", ["math", "code"])
def test_a_judge_is_never_asked_what_objective_grading_decides(candidate: Grade, reference: Grade, kind: Kind) -> None:
    (decided,) = decide([item(candidate, reference, kind)], never)
    assert decided.outcome == by_grades(candidate, reference)
    assert decided.decided_by == "grades"


def test_a_judge_is_not_asked_about_an_answer_whose_grading_failed_or_that_has_no_counterpart() -> None:
    undecided = decide([item(UNGRADED, RIGHT, "code"), item(UNGRADED, None, "open")], never)
    assert [one.outcome for one in undecided] == ["none", "none"]
    assert [one.decided_by for one in undecided] == ["", ""]


def test_a_judge_decides_open_tasks_and_is_named_as_who_did() -> None:
    asked = []

    def judge(task: Task, ours: str, theirs: str) -> str:
        asked.append((task.id, ours, theirs))
        return {"a": "win", "b": "none"}[task.id]

    decided = decide([item(UNGRADED, UNGRADED, "open", name) for name in "ab"], judge)
    assert asked == [("a", "ours", "theirs"), ("b", "ours", "theirs")]
    assert [(one.outcome, one.decided_by) for one in decided] == [("win", "judge"), ("none", "")]


def test_a_judge_is_needed_only_where_there_is_an_open_task() -> None:

    closed, opened = item(RIGHT, RIGHT).task, item(UNGRADED, None, "open").task
    settings = PRESETS["tiny"].changed(reference="judge")
    assert find_judge(settings, [closed]) is None
    assert find_judge(PRESETS["tiny"], [opened]) is None
    with pytest.raises(UsageError, match="judge_url"):
        find_judge(settings, [closed, opened])
    named = settings.changed(judge_url="http://localhost:1/v1", judge_model="judge")
    assert find_judge(named, [opened]) is not None


def test_counts_add_up_and_compare_only_items_that_both_have() -> None:
    pairs = [(RIGHT, WRONG), (RIGHT, RIGHT), (WRONG, WRONG), (WRONG, RIGHT), (RIGHT, None), (UNGRADED, RIGHT)]
    items = decide(item(ours, theirs, name=str(number)) for number, (ours, theirs) in enumerate(pairs))
    counts = count(items, {"0": True, "1": False, "4": True, "5": True, "of another run": True})
    assert (counts.graded, counts.right) == (5, 3)
    assert (counts.compared, counts.wins, counts.ties, counts.losses) == (4, 1, 1, 1)
    assert counts.against_reference == Pairs(1, 1, 1, 1)
    assert counts.against_baseline == Pairs(2, 1, 0, 0)
    assert count(items).against_baseline is None


def test_two_wrong_answers_are_no_tie_and_a_tie_by_the_judge_is_one() -> None:
    wrong = [item(WRONG, WRONG, name=f"w{number}") for number in range(40)]
    opened = [item(UNGRADED, UNGRADED, "open", f"o{number}") for number in range(2)]
    counts = count(decide([*wrong, *opened], lambda *_: "tie"))
    assert (counts.compared, counts.wins, counts.ties, counts.losses) == (42, 0, 2, 0)
    gate = Gate("all", "ties", 0.60, 0.50)
    assert judge(gate, counts).verdict == "fail"
    assert judge(gate, count(decide([item(RIGHT, RIGHT)] * 42))).verdict == "pass"


def test_a_dataset_is_a_test_set_a_kind_or_all() -> None:
    items = [item(RIGHT, None, "math"), item(RIGHT, None, "code")]
    assert of_dataset(items, "all") == items
    assert of_dataset(items, "code") == items[1:]
    assert of_dataset(items, "mathset") == items[:1]
    assert of_dataset(items, "none such") == []
