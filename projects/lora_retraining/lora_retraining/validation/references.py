"""Find the reference of a validation (a model, a transcript, the right answers) and the results of an earlier one."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.loading import find_model
from lora_retraining.data.tasks import Task
from lora_retraining.settings import Settings
from lora_retraining.validation.answering import Answer
from mlflow_plugin.errors import PhaseError

_logger = logging.getLogger(__name__)

_SHOWN = 20


@dataclass(frozen=True)
class Baseline:
    """The results of an earlier validation: if each item was right, by id, or only how many were by dataset."""

    name: str = "none"
    right: Mapping[str, bool] | None = None
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """The reference of a validation.

    Attributes:
        answers: The answers that are there already, by id.
        model: The model that answers the other tasks.
        missing: Ids of tasks without an answer.
    """

    name: str
    answers: Mapping[str, Answer]
    model: ModelFiles | None = None
    missing: tuple[str, ...] = ()

    def unanswered(self, tasks: Sequence[Task]) -> list[Task]:
        return [task for task in tasks if task.id not in self.answers]


def find_reference(
    settings: Settings, tasks: Sequence[Task], prompts: Mapping[str, str], base: Mapping[str, Any], earlier: Baseline
) -> Reference:
    """Find the reference that the settings name.

    Args:
        settings: With `reference` and `model`.
        tasks: The tasks to answer.
        prompts: The text that the model sees, by id.
        base: The facts of base.json.
        earlier: An earlier validation; its answers from the same reference are taken over.

    Raises:
        PhaseError: A model or transcript cannot be had, or preflight has not checked the base.
    """
    chosen = settings.reference
    if chosen == "none":
        return Reference("none", {})
    if chosen == "judge":
        answers = {task.id: Answer(task.answer, False) for task in tasks if task.answer.strip()}
        return Reference("the right answers", answers, missing=_without(tasks, answers))
    if chosen.endswith(".jsonl"):
        transcript = read_transcript(Path(chosen), tasks)
        if transcript.missing:
            _logger.info(
                f"{chosen} has no completion of {len(transcript.missing)} of {len(tasks)} tasks, such as "
                f"{transcript.missing[0]}"
            )
        answers = {task: Answer(text, False) for task, text in transcript.completions.items()}
        return Reference(Path(chosen).name, answers, missing=transcript.missing)
    model = find_model(settings.model if chosen == "base" else chosen)
    if chosen == "base" and (model.source, model.revision) != (base.get("source"), base.get("revision")):
        raise PhaseError(
            f"the reference is to be the base, but preflight looked at {base.get('source')} "
            f"{base.get('revision')}, not at {model.source} {model.revision}. Give both phases the same model."
        )
    name = f"{model.source} {model.revision}".strip()
    return Reference(name, _taken_over(name, settings, prompts, earlier), model)


def _taken_over(name: str, settings: Settings, prompts: Mapping[str, str], earlier: Baseline) -> dict[str, Answer]:
    """Return the reference's answers of an earlier validation to the very same prompts, of the same length."""
    made = earlier.results
    if made.get("reference") != name or made.get("max_new_tokens") != settings.max_new_tokens:
        return {}
    return {
        task: Answer(item["reference_completion"], bool(item.get("reference_cut")))
        for task, item in earlier.items.items()
        if prompts.get(task) == item["prompt"] and item.get("reference_completion") is not None
    }


def _without(tasks: Sequence[Task], answers: Mapping[str, Answer]) -> tuple[str, ...]:
    return tuple(task.id for task in tasks if task.id not in answers)


def baseline_of_phase(name: str, folder: Path) -> Baseline:
    """Read the results of an earlier phase, whose outputs are in a folder, item by item."""
    items, results = read_items(folder / "items.jsonl"), _read_results(folder / "results.json")
    right = {task: item["grade"]["correct"] for task, item in items.items() if item["grade"]["correct"] is not None}
    return Baseline(f"phase {name}", right, _counts(results), items, results)


def baseline_of_file(file: Path) -> Baseline:
    """Read a results.json. If the items lie beside it, they are compared item by item."""
    if file.with_name("items.jsonl").is_file():
        return baseline_of_phase(file.name, file.parent)
    results = _read_results(file)
    return Baseline(file.name, None, _counts(results), results=results)


def _counts(results: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (int(counts["right"]), int(counts["graded"])) for name, counts in results["datasets"].items()}


def _read_results(file: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _counts(results)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhaseError(
            f"{file} cannot be read as results of a validation ({type(error).__name__}: {error}). Take a "
            "results.json that a validation has written."
        ) from None
    return results


@dataclass(frozen=True)
class Transcript:
    """Completions by the id of their task. `missing` are ids of tasks without one."""

    completions: dict[str, str]
    missing: tuple[str, ...]


def read_transcript(file: Path, tasks: Sequence[Task]) -> Transcript:
    """Read the completions of these tasks from a file.

    Each line is an object with `completion`, and `id` or `prompt` of its task. Rows of other tasks are ignored.

    Raises:
        PhaseError: The file cannot be read or has none of the tasks, or lines are malformed; the message names
            them.
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
        raise PhaseError(f"{file} is no transcript: {'; '.join(wrong[:_SHOWN])}{more}. Fix these lines.")
    if tasks and not completions:
        raise PhaseError(
            f"{file} holds none of the {len(tasks)} tasks, by id or prompt; the first is {tasks[0].id!r}. Take the "
            "transcript of these test sets."
        )
    return Transcript(completions, tuple(task.id for task in tasks if task.id not in completions))


def read_items(file: Path) -> dict[str, dict[str, Any]]:
    """Read the items of a validation (`items.jsonl`), by id. Raise PhaseError for a file that holds something else."""
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
    """Return line numbers from 1 with their content; None for a line that is no JSON."""
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
