"""What a model is compared with: another model, a transcript, the right answers; and the results of an earlier run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import say
from retraining.base_model import ModelFiles, find_model
from retraining.presets import Settings
from retraining.tasks import Task
from retraining.validation.answering import Answer
from retraining.validation.transcript import read_items, read_transcript


@dataclass(frozen=True)
class Baseline:
    """What an earlier validation found: whether each item was right, by id, or only how many were by dataset."""

    name: str = "none"
    right: Mapping[str, bool] | None = None
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    items: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """`answers` are there already, by id; `model` is to answer the other tasks. `missing`: ids that nobody answers."""

    name: str
    answers: Mapping[str, Answer]
    model: ModelFiles | None = None
    missing: tuple[str, ...] = ()

    def unanswered(self, tasks: Sequence[Task]) -> list[Task]:
        return [task for task in tasks if task.id not in self.answers]


def find_reference(
    settings: Settings, tasks: Sequence[Task], prompts: Mapping[str, str], base: Mapping[str, Any], earlier: Baseline
) -> Reference:
    """The reference that the settings name. `prompts`: what the model is shown, by id; `base`: facts of base.json;
    answers that an earlier validation had from the same reference are taken over.

    Raises PhaseError for a model or transcript that cannot be had, and for a base that preflight has not looked at.
    """
    chosen = settings.reference
    if chosen == "none":
        return Reference("none", {})
    if chosen == "judge":
        answers = {task.id: Answer(task.answer, False) for task in tasks if task.answer.strip()}
        return Reference("the right answers", answers, missing=_without(tasks, answers))
    if chosen.endswith(".jsonl"):
        found = read_transcript(Path(chosen), tasks)
        if found.missing:
            say(f"{chosen} has no completion of {len(found.missing)} of {len(tasks)} tasks, such as {found.missing[0]}")
        answers = {task: Answer(text, False) for task, text in found.completions.items()}
        return Reference(Path(chosen).name, answers, missing=found.missing)
    model = find_model(settings.model if chosen == "base" else chosen)
    if chosen == "base" and (model.source, model.revision) != (base.get("source"), base.get("revision")):
        raise PhaseError(
            f"the reference is to be the base, but preflight looked at {base.get('source')} "
            f"{base.get('revision')}, not at {model.source} {model.revision}. Give both phases the same model."
        )
    name = f"{model.source} {model.revision}".strip()
    return Reference(name, _taken_over(name, settings, prompts, earlier), model)


def _taken_over(name: str, settings: Settings, prompts: Mapping[str, str], earlier: Baseline) -> dict[str, Answer]:
    """The reference's answers that an earlier validation kept, to the very same prompts, of the same length."""
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
    """The results of an earlier phase, whose outputs are in a folder: item by item."""
    items, results = read_items(folder / "items.jsonl"), _read_results(folder / "results.json")
    right = {task: item["grade"]["correct"] for task, item in items.items() if item["grade"]["correct"] is not None}
    return Baseline(f"phase {name}", right, _counts(results), items, results)


def baseline_of_file(file: Path) -> Baseline:
    """Results that somebody kept. Where the items lie beside them, they are compared item by item."""
    if file.with_name("items.jsonl").is_file():
        return baseline_of_phase(file.name, file.parent)
    results = _read_results(file)
    return Baseline(file.name, None, _counts(results), results=results)


def _counts(results: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    return {name: (int(found["right"]), int(found["graded"])) for name, found in results["datasets"].items()}


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
