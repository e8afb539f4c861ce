"""Transcripts: answers that somebody wrote to the tasks before, read from JSON lines."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from retraining.tasks import Task

_SHOWN = 20


@dataclass(frozen=True)
class Transcript:
    """Completions by the id of their task. `missing`: ids of tasks without one."""

    completions: dict[str, str]
    missing: tuple[str, ...]


def read_transcript(file: Path, tasks: Sequence[Task]) -> Transcript:
    """What a file says to these tasks. Each line is an object with `completion`, and `id` or `prompt` of its task; rows
    of other tasks are passed over.

    Raises PhaseError for a file that cannot be read or has none of the tasks, naming every malformed line.
    """
    by_id = {task.id: task.id for task in tasks}
    by_prompt = {task.prompt: task.id for task in tasks}
    completions: dict[str, str] = {}
    wrong = []
    for number, row in _rows(file):
        if problem := _problem(row):
            wrong.append(f"line {number}: {problem}")
            continue
        task = by_id.get(row["id"]) if "id" in row else by_prompt.get(row["prompt"])
        if task in completions and completions[task] != row["completion"]:
            wrong.append(f"line {number}: another completion of {task}")
        elif task is not None:
            completions[task] = row["completion"]
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise PhaseError(f"{file} is no transcript: {'; '.join(wrong[:_SHOWN])}{more}. Mend these lines.")
    if tasks and not completions:
        raise PhaseError(
            f"{file} holds none of the {len(tasks)} tasks, by id or prompt; the first is {tasks[0].id!r}. Take the "
            "transcript of these test sets."
        )
    return Transcript(completions, tuple(task.id for task in tasks if task.id not in completions))


def read_items(file: Path) -> dict[str, dict[str, Any]]:
    """The items that a validation kept (`items.jsonl`), by id. Raises PhaseError for a file that holds none."""
    items = {}
    for number, row in _rows(file):
        if not isinstance(row, dict) or not _is_item(row):
            raise PhaseError(f"{file}:{number} is no item of a validation. Run the phase that wrote it again.")
        items[row["id"]] = row
    return items


def _is_item(row: Mapping[str, Any]) -> bool:
    graded = row.get("grade")
    texts = all(isinstance(row.get(name), str) for name in ("id", "prompt", "completion"))
    return texts and isinstance(graded, dict) and graded.get("correct", "") in (True, False, None)


def _rows(file: Path) -> list[tuple[int, Any]]:
    """Line numbers from 1 with what they hold; None for a line that is no JSON."""
    try:
        lines = file.read_text(encoding="utf-8").split("\n")  # Other ends of lines may stand in a text as they are.
    except (OSError, UnicodeDecodeError) as error:
        raise PhaseError(f"{file} cannot be read: {error}.") from None
    return [(number, _parsed(line)) for number, line in enumerate(lines, start=1) if line.strip()]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _problem(row: Any) -> str:
    if not isinstance(row, dict):
        return "no JSON object"
    if not isinstance(row.get("completion"), str):
        return "no text under `completion`"
    if not isinstance(row.get("id", row.get("prompt")), str):
        return "neither `id` nor `prompt`"
    return ""
