"""Keep the real failures of a model on tasks of train splits, as rows to train on.

A failure is real if it was graded objectively as wrong. An undecided answer is no failure. An answer that was cut off
where even the right one would have been says nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from projects_common.statistics import wilson

from lora_retraining.data.overlap import find_overlap
from lora_retraining.data.tasks import Grade, Task, shortened, task_row
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.markdown import plain

_SHOWN = 5


@dataclass(frozen=True)
class Attempt:
    """A task with the model's answer.

    Attributes:
        cut: The answer ran into max_new_tokens.
        too_short: The right answer would have done so, too.
    """

    task: Task
    completion: str
    cut: bool
    grade: Grade
    too_short: bool = False

    @property
    def failed(self) -> bool:
        return self.grade.correct is False and not (self.cut and self.too_short)

    @property
    def outcome(self) -> str:
        """Return right, failed, undecided or cut_off."""
        if self.grade.correct is None:
            return "undecided"
        return "right" if self.grade.correct else "failed" if self.failed else "cut_off"

    @property
    def reason(self) -> str:
        """Return why the answer counts as wrong, in a few words that can be counted."""
        if self.task.kind == "code":
            return f"code: {self.grade.reason.split(':', 1)[0]}"
        return "math: no answer" if not self.grade.extracted else "math: another value"


def without_test_tasks(tasks: Sequence[Task], test_tasks: Sequence[Task]) -> tuple[list[Task], list[str]]:
    """Return the tasks that are in no test set, and the ids of the others, by exact or near matches of their prompts.

    Raises:
        PhaseError: A task of a test split is among the tasks, so the file is the wrong one.
    """
    known = {task.id for task in test_tasks}
    if wrong := [task.id for task in tasks if task.split != "train" or task.id in known]:
        raise PhaseError(
            f"{len(wrong)} of {len(tasks)} tasks to take failures from are of a test split, such as "
            f"{', '.join(wrong[:_SHOWN])}. Training on them would make every later validation worthless. Give "
            "preflight data of a train split."
        )
    overlaps = find_overlap({task.id: task.prompt for task in tasks}, {task.id: task.prompt for task in test_tasks})
    inside = {overlap.train_id for overlap in overlaps}
    return [task for task in tasks if task.id not in inside], [task.id for task in tasks if task.id in inside]


def deduplicated(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Keep the first of several attempts at the same task or nearly the same, by their prompts."""
    prompts = {attempt.task.id: attempt.task.prompt for attempt in attempts}
    like: dict[str, set[str]] = {task: set() for task in prompts}
    for overlap in find_overlap(prompts, prompts):
        like[overlap.train_id].add(overlap.test_id)
        like[overlap.test_id].add(overlap.train_id)
    kept: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.task.id not in kept and not like[attempt.task.id] & kept.keys():
            kept[attempt.task.id] = attempt
    return list(kept.values())


def failure_row(attempt: Attempt, model: str) -> dict[str, Any]:
    """Return a row to train on: the task with its right answer, and its origin. `model` is the digest of the
    weights.
    """
    provenance = {
        "task": attempt.task.id,
        "dataset": attempt.task.dataset,
        "split": attempt.task.split,
        "model": model,
        "completion": attempt.completion,
        "cut": attempt.cut,
        "extracted": attempt.grade.extracted,
        "reason": attempt.grade.reason,
    }
    return {**task_row(attempt.task), "provenance": provenance}


def summarised(
    attempts: Sequence[Attempt], kept: Sequence[Attempt], in_test_sets: Sequence[str], model: str
) -> dict[str, Any]:
    """Return the content of failures.json: counts that do not differ from run to run."""
    outcomes = Counter(attempt.outcome for attempt in attempts)
    failed = [attempt for attempt in attempts if attempt.failed]
    return {
        "model": model,
        "attempted": len(attempts),
        "failed": len(failed),
        "failures": len(kept),
        "duplicates": len(failed) - len(kept),
        "right": outcomes["right"],
        "undecided": outcomes["undecided"],
        "cut_off": outcomes["cut_off"],
        "in_test_sets": sorted(in_test_sets),
        "by_dataset": _counted(attempts, kept, "dataset"),
        "by_kind": _counted(attempts, kept, "kind"),
        "reasons": dict(Counter(attempt.reason for attempt in failed).most_common()),
    }


def _counted(attempts: Sequence[Attempt], kept: Sequence[Attempt], by: str) -> dict[str, dict[str, int]]:
    tried = Counter(getattr(attempt.task, by) for attempt in attempts)
    failed = Counter(getattr(attempt.task, by) for attempt in attempts if attempt.failed)
    left = Counter(getattr(attempt.task, by) for attempt in kept)
    return {
        name: {"attempted": count, "failed": failed[name], "failures": left[name]}
        for name, count in sorted(tried.items())
    }


def table(attempts: Sequence[Attempt]) -> dict[str, list[Any]]:
    """Return all attempts by column, as `mlflow.log_table` takes them, with long texts shortened."""
    rows = [
        {
            "id": attempt.task.id,
            "dataset": attempt.task.dataset,
            "kind": attempt.task.kind,
            "outcome": attempt.outcome,
            "reason": attempt.grade.reason,
            "prompt": attempt.task.prompt,
            "completion": attempt.completion,
            "extracted": attempt.grade.extracted,
            "answer": attempt.task.answer,
        }
        for attempt in attempts
    ]
    return {column: [shortened(row[column]) for row in rows] for column in rows[0]} if rows else {}


def none_failed(summary: Mapping[str, Any], max_new_tokens: int) -> str:
    """Say why there are no failures: the model is right, or its answers were cut off."""
    sentence = f"Of {summary['attempted']} tasks the model solves {summary['right']} and really fails none."
    if not summary["cut_off"]:
        return sentence
    return (
        f"{sentence} {summary['cut_off']} cannot be graded: their right answers are longer than max_new_tokens="
        f"{max_new_tokens}; raise it."
    )


def description(summary: Mapping[str, Any], max_new_tokens: int, model_run: str) -> str:
    """Describe the extraction for the run's page, as Markdown."""
    tried, failed = summary["attempted"], summary["failed"]
    rate = wilson(failed, tried)
    lines = [
        f"Of {tried} tasks of train splits, the model of run {plain(model_run)} fails {failed} "
        f"({rate.point:.1%}; 95%: {rate.low:.1%} to {rate.high:.1%}); {summary['failures']} of them are handed on, "
        f"{summary['duplicates']} are nearly the same as others.",
        f"Left out: {summary['right']} right, {summary['undecided']} undecided, {summary['cut_off']} cut off where the "
        f"right answer would have been too, {len(summary['in_test_sets'])} that stand in a test set.",
    ]
    if not summary["failures"]:
        lines.append(f"There is nothing to train on. {none_failed(summary, max_new_tokens)}")
    reasons = [f"| {plain(reason)} | {count} |" for reason, count in summary["reasons"].items()]
    if reasons:
        lines.append("\n".join(["| why | failures |", "|---|---|", *reasons]))
    return "\n\n".join(lines)
