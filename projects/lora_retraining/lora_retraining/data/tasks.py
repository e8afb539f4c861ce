"""Tasks: what a model is asked, and what decides whether its answer is right."""

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlflow_plugin.errors import PhaseError

Kind = Literal["math", "code", "open"]
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Task:
    """One thing to ask a model.

    `prompt` is what the user says, before the chat template. `answer` is a right answer as the model should give it.
    `kind` says what decides: for "math" the number in `answer`, for "code" the Python in `tests`, which runs after the
    solution and raises when it is wrong; nothing objective for "open". `entry_point` names the function asked for.
    `prefix` is the code that a bare completion goes on from, as HumanEval has it.
    """

    id: str
    dataset: str
    kind: Kind
    split: Split
    prompt: str
    answer: str
    tests: str = ""
    entry_point: str = ""
    prefix: str = ""


@dataclass(frozen=True)
class Grade:
    """`correct` is None where nothing objective decides; `extracted` is the answer or code that was looked at."""

    correct: bool | None
    reason: str
    extracted: str = ""


def task_row(task: Task) -> dict[str, Any]:
    """A task as a row to train on: `{"id", "messages": [{"role", "content"}, ...]}`."""
    messages = [{"role": "user", "content": task.prompt}, {"role": "assistant", "content": task.answer}]
    return {"id": task.id, "messages": messages}


def write_rows(rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Write one JSON object a line, its keys in order."""
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


def write_tasks(tasks: Iterable[Task], file: Path) -> None:
    """Writes one JSON object a line."""
    with open(file, "w", encoding="utf-8") as stream:
        for task in tasks:
            stream.write(json.dumps(dataclasses.asdict(task), ensure_ascii=False) + "\n")


def read_tasks(file: Path) -> list[Task]:
    """Reads what `write_tasks` wrote. Raises PhaseError for a file that is missing or holds something else."""
    tasks = []
    try:
        with open(file, encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                tasks.append(_task_of(line, f"{file}:{number}"))
    except (OSError, UnicodeDecodeError) as error:
        raise PhaseError(f"the tasks in {file} cannot be read: {error}. Run the phase that wrote them again.") from None
    return tasks


def _task_of(line: str, place: str) -> Task:
    try:
        task = Task(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise PhaseError(f"{place} holds no task: {error}. Run the phase that wrote it again.") from None
    values = dataclasses.asdict(task)
    wrong = [name for name, value in values.items() if not isinstance(value, str)]
    for name, known in (("kind", typing.get_args(Kind)), ("split", typing.get_args(Split))):
        wrong += [name] if values[name] not in known else []
    if wrong:
        raise PhaseError(f"{place} holds no task: {', '.join(wrong)} is not as it should be. Run its phase again.")
    return task
