"""The result of a validation, from its items."""

from lora_retraining.data.tasks import Grade, Task
from lora_retraining.validation.gates import Gate
from lora_retraining.validation.outcomes import Item
from lora_retraining.validation.references import Baseline
from lora_retraining.validation.results import judge_items

RIGHT = Grade(True, "4 is 4", "4")
ITEMS = [
    Item(Task(f"t{number}", "sums", "math", "test", "2 + 2?", "4"), "2 + 2?", "4", False, RIGHT) for number in range(40)
]
GATES = [Gate("all", "accuracy", 0.8, 0.7), Gate("all", "baseline_ratio", 0.9, 0.8)]


def test_a_first_validation_is_not_held_up_by_the_gate_against_a_baseline_that_it_cannot_have():
    assert [(one.gate.measure, one.verdict) for one in judge_items(ITEMS, GATES, Baseline())] == [("accuracy", "pass")]


def test_a_later_one_is_judged_against_the_first():
    before = Baseline("phase validate", {item.task.id: True for item in ITEMS})
    judged = {one.gate.measure: one.verdict for one in judge_items(ITEMS, GATES, before)}
    assert judged == {"accuracy": "pass", "baseline_ratio": "pass"}
