"""Grade completions by their task: compare an answer, or run tests. Nothing here asks a model."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from lora_retraining.data.tasks import Grade, Task
from lora_retraining.grading.code import grade_code
from lora_retraining.grading.mathematics import grade_math
from mlflow_plugin.errors import PhaseError

__all__ = ["Grade", "grade", "grade_all"]

_LONGEST = 300


def grade(task: Task, completion: str) -> Grade:
    """Grade one completion; `correct` is None if nothing objective decides. Safe to call from any thread.

    An error while grading is the grade of this completion, and ends no other.

    Raises:
        PhaseError: Grading does not work on this machine now, whatever the completion is.
    """
    try:
        return _grade(task, completion)
    except PhaseError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())[:_LONGEST]
        return Grade(None, f"it could not be graded: {type(error).__name__}: {message}")


def _grade(task: Task, completion: str) -> Grade:
    if task.kind == "math":
        return grade_math(task, completion)
    if task.kind == "code":
        return grade_code(task, completion)
    return Grade(None, "nothing objective decides an open task")


def grade_all(tasks: Sequence[Task], completions: Sequence[str], workers: int | None = None) -> Iterator[Grade]:
    """Yield the grades in the order of the tasks.

    Args:
        tasks: One for each completion.
        completions: Texts of the model.
        workers: Processes that run code at once; None for one on each core.

    Raises:
        ValueError: The numbers of tasks and completions differ.
    """
    if len(tasks) != len(completions):
        raise ValueError(f"{len(tasks)} tasks but {len(completions)} completions.")
    if not any(task.kind == "code" for task in tasks):
        yield from map(grade, tasks, completions)
        return
    pool = ThreadPoolExecutor(max_workers=workers or _cores(), thread_name_prefix="grading")
    try:
        graded: list[Future[Grade]] = [pool.submit(grade, *pair) for pair in zip(tasks, completions, strict=True)]
        for future in graded:
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
