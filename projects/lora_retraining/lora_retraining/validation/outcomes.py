"""Compare both answers to each item, and count the outcomes. Grades decide; a judge is asked only if there is none.

Two wrong answers are counted on their own and not among the ties: a model that knows nothing would have most of them.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from projects_common.statistics import Pairs

from lora_retraining.data.tasks import Grade, Task
from lora_retraining.validation.gates import Counts

Outcome = Literal["win", "tie_both_right", "both_wrong", "tie", "loss", "none"]
"""`tie` is a judge's verdict. `none`: there is no reference, or no decision."""
Judge = Callable[[Task, str, str], Literal["win", "tie", "loss", "none"]]
"""Compares a completion (first) with the reference's (second)."""
TIES = ("tie_both_right", "tie")
"""Two wrong answers are no tie: they are equally useless, and no gate must take that for a success."""


@dataclass(frozen=True)
class Item:
    """A task with all results.

    Attributes:
        prompt: The text that the model saw.
        cut: The completion ran into max_new_tokens.
    """

    task: Task
    prompt: str
    completion: str
    cut: bool
    grade: Grade
    reference_completion: str | None = None
    reference_cut: bool = False
    reference_grade: Grade | None = None
    outcome: Outcome = "none"
    decided_by: Literal["grades", "judge", ""] = ""

    def row(self) -> dict[str, Any]:
        """Return a JSON object of `items.jsonl`."""
        return {
            "id": self.task.id,
            "dataset": self.task.dataset,
            "kind": self.task.kind,
            "prompt": self.prompt,
            "completion": self.completion,
            "cut": self.cut,
            "grade": asdict(self.grade),
            "reference_completion": self.reference_completion,
            "reference_cut": self.reference_cut,
            "reference_grade": asdict(self.reference_grade) if self.reference_grade else None,
            "outcome": self.outcome,
            "decided_by": self.decided_by,
        }


def by_grades(candidate: Grade, reference: Grade | None) -> Outcome:
    """Return the outcome that the grades decide; `none` if one of them is missing or decides nothing."""
    if reference is None or candidate.correct is None or reference.correct is None:
        return "none"
    if candidate.correct == reference.correct:
        return "tie_both_right" if candidate.correct else "both_wrong"
    return "win" if candidate.correct else "loss"


def decide(items: Iterable[Item], judge: Judge | None = None) -> list[Item]:
    """Return the items with their outcomes. The judge is asked about open tasks only, not about those whose grading
    failed.
    """
    decided = []
    for item in items:
        outcome = by_grades(item.grade, item.reference_grade)
        if outcome != "none":
            item = replace(item, outcome=outcome, decided_by="grades")
        elif judge is not None and item.task.kind == "open" and item.reference_completion is not None:
            judged = judge(item.task, item.completion, item.reference_completion)
            item = replace(item, outcome=judged, decided_by="judge" if judged != "none" else "")
        decided.append(item)
    return decided


def of_dataset(items: Iterable[Item], dataset: str) -> list[Item]:
    """Return the items of a dataset by its name, of a kind (`math`, `code`, `open`), or `all`."""
    return [item for item in items if dataset in ("all", item.task.kind, item.task.dataset)]


def count(items: Sequence[Item], baseline: dict[str, bool] | None = None) -> Counts:
    """Count some items for the gates. `baseline` says for each graded id if it was right."""
    graded = [item for item in items if item.grade.correct is not None]
    compared = [item for item in items if item.outcome != "none"]
    return Counts(
        graded=len(graded),
        right=sum(item.grade.correct is True for item in graded),
        compared=len(compared),
        wins=sum(item.outcome == "win" for item in compared),
        ties=sum(item.outcome in TIES for item in compared),
        losses=sum(item.outcome == "loss" for item in compared),
        against_reference=pairs(
            (item.grade.correct, item.reference_grade.correct if item.reference_grade else None) for item in items
        ),
        against_baseline=None
        if baseline is None
        else pairs((item.grade.correct, baseline.get(item.task.id)) for item in items),
    )


def pairs(answers: Iterable[tuple[bool | None, bool | None]]) -> Pairs:
    """Count how often both were right, only the first, only the second, neither; pairs with a None are left out."""
    known = [pair for pair in answers if None not in pair]
    return Pairs(*(known.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))))
