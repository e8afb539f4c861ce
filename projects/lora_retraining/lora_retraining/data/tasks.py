"""Define a task: the prompt for a model, and the answer or tests that decide if it is right. Define its grade."""

import dataclasses
import json
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from projects_common.files import write_json_lines

from mlflow_plugin.errors import PhaseError

Kind = Literal["math", "code", "open"]
Split = Literal["train", "test"]

_SHOWN = 400
"""Characters of a text in a table."""


@dataclass(frozen=True)
class Task:
    """One task for a model.

    Attributes:
        kind: The way it is graded: "math" by the number in `answer`, "code" by `tests`, "open" by nothing
            objective.
        prompt: The user's message, before the chat template.
        answer: A right answer as the model should give it.
        tests: Python that runs after the solution and raises if it is wrong.
        entry_point: The name of the function asked for.
        prefix: The code that a bare completion continues, as in HumanEval.
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
    """The grade of one completion.

    Attributes:
        correct: None if nothing objective decides.
        extracted: The answer or code that was graded.
    """

    correct: bool | None
    reason: str
    extracted: str = ""


def task_row(task: Task) -> dict[str, Any]:
    """Return a task as a row to train on: `{"id", "messages": [{"role", "content"}, ...]}`."""
    messages = [{"role": "user", "content": task.prompt}, {"role": "assistant", "content": task.answer}]
    return {"id": task.id, "messages": messages}


def write_tasks(tasks: Iterable[Task], file: Path) -> None:
    """Write one JSON object a line."""
    write_json_lines(map(dataclasses.asdict, tasks), file)


def read_tasks(file: Path) -> list[Task]:
    """Read a file that `write_tasks` wrote. Raise PhaseError if it is missing or holds something else."""
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


def shortened(value: Any) -> Any:
    """Return a text's first characters and the number of the others; any other value unchanged."""
    if not isinstance(value, str) or len(value) <= _SHOWN:
        return value
    return f"{value[:_SHOWN]} ... ({len(value) - _SHOWN:,} more characters)"
