"""Validate a merged model: answers to test tasks, graded, compared with a reference and judged by gates. Phases
`validate` and `validate_1b`.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from projects_common.files import write_json_lines
from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.data import chat
from lora_retraining.data.tasks import Task, read_tasks
from lora_retraining.grading.judge import Judge, Verdict
from lora_retraining.grading.objective import grade_all
from lora_retraining.settings import Settings
from lora_retraining.validation import results
from lora_retraining.validation.answering import (
    Checkpoints,
    Respondent,
    answer_all,
    completions_at_once,
    tokens_per_second,
)
from lora_retraining.validation.failure_signatures import FailureSignature, find_failure_signatures
from lora_retraining.validation.gates import Gate, Judged, overall
from lora_retraining.validation.outcomes import Item, decide
from lora_retraining.validation.references import (
    Baseline,
    Reference,
    baseline_of_file,
    baseline_of_phase,
    find_reference,
)
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically

ShowProgress = Callable[..., Iterator[Any]]
"""Yields items and shows how many are done: (items, total=None, description="")."""


@dataclass(frozen=True)
class Inputs:
    """The outputs of earlier phases.

    Attributes:
        preflight: Test tasks, training rows and the facts of the base.
        model: The merged model to validate.
        baseline: An earlier validation to compare with, and the name of its phase; None if there is none.
        trained_on_base: The model's base is the one of the settings, not a merged model.
    """

    preflight: Path
    model: Path
    baseline: tuple[str, Path] | None
    trained_on_base: bool


@dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        items: Every task with both answers, their grades and the outcome.
        summary: The content of results.json.
        judged: Every gate with its verdict.
        signatures: The known failures that a failed model was compared with.
        tokens_per_second: Speed of the generation.
    """

    items: Sequence[Item]
    summary: Mapping[str, Any]
    judged: Sequence[Judged]
    signatures: Sequence[FailureSignature]
    tokens_per_second: float

    @property
    def metrics(self) -> dict[str, float]:
        """Return shares, intervals, the verdict and the speed."""
        shares = results.metrics(self.summary["datasets"], self.judged)
        return shares | {"tokens_per_second": self.tokens_per_second}

    def table(self) -> dict[str, list[Any]]:
        """Return the items by column."""
        return results.table(self.items)

    def description(self) -> str:
        """Describe the validation for the run's page, as Markdown."""
        return results.description(self.summary, self.judged, self.signatures)

    def quarantine_reason(self) -> str:
        """Say why the model must not be used; "" if it may be."""
        if self.summary["verdict"] != "fail":
            return ""
        failed = "; ".join(f"{one.gate.name}: {one.why}" for one in self.judged if one.verdict == "fail")
        like = ", ".join(one.name for one in self.signatures if one.resembles)
        return f"failed: {failed}" + (f"; it resembles: {like}" if like else "")

    def save_items(self, file: Path) -> None:
        """Write items.jsonl: the same bytes for the same answers."""
        write_json_lines((item.row() for item in self.items), file)

    def save_summary(self, file: Path) -> None:
        """Write results.json."""
        file.write_text(json.dumps(self.summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def validate(
    settings: Settings,
    inputs: Inputs,
    checkpoints: Checkpoints,
    progress: ShowProgress,
    *,
    batch_size_given: bool,
    every: int | None = None,
) -> Validation:
    """Validate a merged model.

    Args:
        settings: With samples, reference, judge, baseline and gates.
        inputs: The outputs of earlier phases.
        checkpoints: Saves the answers, and restores those of an interrupted run.
        progress: Shows how far grading and comparing are.
        batch_size_given: Use the batch size of the settings instead of the device's own.
        every: Rounds between checkpoints; None leaves it to `checkpoints`.

    Raises:
        PhaseError: There are no tasks, a model cannot be had or is quantised, or the judge does not answer.
    """
    gates = [Gate(*figures) for figures in settings.gates]
    tasks = sampled(inputs.preflight / "test_tasks.jsonl", settings)
    base = json.loads((inputs.preflight / "base.json").read_text(encoding="utf-8"))
    baseline = _find_baseline(inputs, settings)
    at_once = completions_at_once(settings, given=batch_size_given)
    candidate = Respondent(find_model(str(inputs.model)), tasks, settings.max_new_tokens, at_once)
    prompts = {task.id: chat.prompt_text(candidate.tokenizer, task.prompt) for task in tasks}
    reference = find_reference(settings, tasks, prompts, base, baseline)
    respondents = {"candidate": candidate}
    if reference.model is not None and (unanswered := reference.unanswered(tasks)):
        respondents["reference"] = Respondent(reference.model, unanswered, settings.max_new_tokens, at_once)
    judge = find_judge(settings, tasks)
    state: dict[str, Any] = {name: respondent.generation for name, respondent in respondents.items()}
    if judge is not None:
        state["judge"] = judge
    rounds = answer_all(checkpoints, respondents, settings, state, every)

    graded = _grade(tasks, prompts, respondents, reference, progress)
    items = _decide(graded, judge, state, rounds, every, checkpoints, progress)
    judged = results.judge_items(items, gates, baseline)
    verdict = overall(judged)
    signatures = _signatures(settings, inputs, candidate.files, items, base, baseline) if verdict == "fail" else []
    summary = {
        "verdict": verdict,
        "gates": [one.to_dict() for one in judged],
        "datasets": results.by_dataset(items),
        "reference": reference.name,
        "missing_reference": list(reference.missing),
        "baseline": baseline.name,
        "resembles": [one.to_dict() for one in signatures],
        "weights_digest": weights_digest(candidate.files.folder),
        "max_new_tokens": settings.max_new_tokens,
        "seed": settings.seed,
    }
    return Validation(items, summary, judged, signatures, tokens_per_second(respondents))


def sampled(file: Path, settings: Settings) -> list[Task]:
    """Draw the test tasks to ask, by the seed, from each test set. Raise PhaseError if there are none."""
    by_dataset: dict[str, list[Task]] = {}
    for task in sorted(read_tasks(file), key=lambda task: task.id):
        by_dataset.setdefault(task.dataset, []).append(task)
    tasks = []
    for dataset, known in sorted(by_dataset.items()):
        count = settings.samples_of(dataset) or len(known)
        drawn = random.Random(f"{dataset} {settings.seed}").sample(known, min(count, len(known)))
        tasks += sorted(drawn, key=lambda task: task.id)
    if not tasks:
        raise PhaseError(f"{file.name} of preflight holds no task, so nothing can be validated. Give it test_data.")
    return tasks


def _find_baseline(inputs: Inputs, settings: Settings) -> Baseline:
    """Return the results of the earlier phase, else of the file that is named, else none."""
    if inputs.baseline is not None:
        return baseline_of_phase(*inputs.baseline)
    return Baseline() if settings.baseline == "none" else baseline_of_file(Path(settings.baseline))


def find_judge(settings: Settings, tasks: Sequence[Task]) -> Judge | None:
    """Return the judge, if there is a task that only a judge can decide. Raise UsageError if it is not named."""
    unnamed = settings.judge_url == "none" and settings.reference != "judge"
    if not any(task.kind == "open" for task in tasks) or unnamed:
        return None
    return Judge(settings.judge_url, settings.judge_model)


def _grade(
    tasks: Sequence[Task],
    prompts: Mapping[str, str],
    respondents: Mapping[str, Respondent],
    reference: Reference,
    progress: ShowProgress,
) -> list[Item]:
    """Grade both answers to every task."""
    own, other = respondents["candidate"].answers(), dict(reference.answers)
    if "reference" in respondents:
        other |= respondents["reference"].answers()
    answered = [task for task in tasks if task.id in other]
    texts = [own[task.id].completion for task in tasks] + [other[task.id].completion for task in answered]
    asked = [*tasks, *answered]
    grades = list(progress(grade_all(asked, texts), total=len(asked), description="grading"))
    items = {
        task.id: Item(task, prompts[task.id], own[task.id].completion, own[task.id].cut, graded)
        for task, graded in zip(tasks, grades, strict=False)
    }
    for task, graded in zip(answered, grades[len(tasks) :], strict=True):
        answer = other[task.id]
        items[task.id] = replace(
            items[task.id],
            reference_completion=answer.completion,
            reference_cut=answer.cut,
            reference_grade=graded,
        )
    return list(items.values())


def _decide(
    items: Iterable[Item],
    judge: Judge | None,
    state: Mapping[str, Any],
    rounds: int,
    every: int | None,
    checkpoints: Checkpoints,
    progress: ShowProgress,
) -> list[Item]:
    """Return the items with their outcomes.

    The judge's verdicts are saved now and then, and when it fails: it is not asked for the same verdict again.
    """
    if judge is None:
        return decide(progress(items, description="comparing"))
    step = rounds

    def ask(*pair: Any) -> Verdict:
        nonlocal step
        verdict = judge(*pair)
        step += 1
        if checkpoints.checkpoint_due(step, every=every):
            checkpoints.checkpoint(state, step)
        return verdict

    try:
        decided = decide(progress(items, description="comparing"), ask)
    except PhaseError:
        checkpoints.checkpoint(state, step + 1)
        raise
    checkpoints.end_of_steps()
    return decided


def _signatures(
    settings: Settings,
    inputs: Inputs,
    files: ModelFiles,
    items: Sequence[Item],
    base: Mapping[str, Any],
    baseline: Baseline,
) -> list[FailureSignature]:
    """Compare the failed model with known failures. It is loaded once more for that."""
    with report_periodically(lambda: "comparing the failed model with known failures"):
        return find_failure_signatures(
            files,
            settings,
            items,
            rows=inputs.preflight / "train.jsonl" if inputs.trained_on_base else None,
            digests={
                "the base": base.get("weights_digest", ""),
                baseline.name: baseline.results.get("weights_digest", ""),
            },
        )
