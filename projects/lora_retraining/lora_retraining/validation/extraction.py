"""Let the merged model solve tasks of train splits, and keep those that it fails: phase `extract_failures`."""

import json
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from projects_common.files import write_json_lines

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.data import failures
from lora_retraining.data.failures import Attempt
from lora_retraining.data.tasks import Task, read_tasks
from lora_retraining.grading.objective import grade_all
from lora_retraining.settings import Settings
from lora_retraining.validation.answering import Checkpoints, Respondent, answer_all, completions_at_once
from lora_retraining.validation.session import ShowProgress
from mlflow_plugin.errors import PhaseError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extraction:
    """The attempts of a model, and the failures that are kept.

    Attributes:
        attempts: Every task with its answer and grade.
        kept: Failures without near-duplicates.
        summary: The content of failures.json.
    """

    attempts: Sequence[Attempt]
    kept: Sequence[Attempt]
    summary: Mapping[str, Any]
    max_new_tokens: int

    @property
    def metrics(self) -> dict[str, float]:
        """Return the counts and the share of failures."""
        return {
            "failures": len(self.kept),
            "failure_rate": self.summary["failed"] / len(self.attempts),
            "attempted": len(self.attempts),
            "duplicates": self.summary["duplicates"],
            "undecided": self.summary["undecided"],
        }

    def table(self) -> dict[str, list[Any]]:
        """Return the attempts by column."""
        return failures.table(self.attempts)

    def description(self, model_run: str) -> str:
        """Describe the extraction for the run's page, as Markdown."""
        return failures.description(self.summary, self.max_new_tokens, model_run)

    def save_rows(self, file: Path) -> None:
        """Write the rows to train on."""
        write_json_lines((failures.failure_row(attempt, self.summary["model"]) for attempt in self.kept), file)

    def save_summary(self, file: Path) -> None:
        """Write failures.json."""
        file.write_text(json.dumps(self.summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def extract(
    settings: Settings,
    preflight: Path,
    model: Path,
    checkpoints: Checkpoints,
    progress: ShowProgress,
    *,
    batch_size_given: bool,
    every: int | None = None,
) -> Extraction:
    """Let a model solve tasks of train splits, and keep the failures.

    Args:
        settings: With the number of tasks and the seed.
        preflight: The outputs of preflight.
        model: The merged model.
        checkpoints: Saves the answers, and restores those of an interrupted run.
        progress: Shows how far the grading is.
        batch_size_given: Use the batch size of the settings instead of the device's own.
        every: Rounds between checkpoints; None leaves it to `checkpoints`.

    Raises:
        PhaseError: No task can be graded, or some are of a test split.
    """
    known = read_tasks(preflight / "train_tasks.jsonl")
    tests = read_tasks(preflight / "test_tasks.jsonl")
    tasks, in_test_sets = failures.without_test_tasks(_drawn(known, settings), tests)
    if in_test_sets:
        _logger.info(f"{len(in_test_sets)} tasks stand in a test set and are left out, such as {in_test_sets[0]}")
    if not tasks:
        raise PhaseError(
            "preflight has handed on no task of a train split that could be graded. Give it data with answers or "
            "tests, such as openai/gsm8k."
        )
    at_once = completions_at_once(settings, given=batch_size_given)
    respondent = Respondent(find_model(str(model)), tasks, settings.max_new_tokens, at_once)
    answer_all(checkpoints, {"merged": respondent}, settings, {"merged": respondent.generation}, every)
    attempts = _graded(respondent, settings.max_new_tokens, progress)
    kept = failures.deduplicated([attempt for attempt in attempts if attempt.failed])
    summary = failures.summarised(attempts, kept, in_test_sets, weights_digest(respondent.files.folder))
    if not kept:
        _logger.info(f"there is nothing to train on. {failures.none_failed(summary, settings.max_new_tokens)}")
    return Extraction(attempts, kept, summary, settings.max_new_tokens)


def _drawn(tasks: Sequence[Task], settings: Settings) -> list[Task]:
    """Return the tasks that can be graded objectively; of more than `failure_tasks`, that many drawn by the seed."""
    gradable = [task for task in tasks if task.kind != "open"]
    if not settings.failure_tasks or len(gradable) <= settings.failure_tasks:
        return gradable
    positions = random.Random(f"failures {settings.seed}").sample(range(len(gradable)), settings.failure_tasks)
    return [gradable[position] for position in sorted(positions)]


def _graded(respondent: Respondent, max_new_tokens: int, progress: ShowProgress) -> list[Attempt]:
    """Return the answer to each task with its grade."""
    written = respondent.answers()
    answers = [written[task.id] for task in respondent.tasks]
    grades = grade_all(respondent.tasks, [answer.completion for answer in answers])
    attempts = []
    for task, answer, grade in zip(
        respondent.tasks, answers, progress(grades, total=len(answers), description="grading"), strict=True
    ):
        too_short = answer.cut and len(respondent.tokenizer(task.answer)["input_ids"]) >= max_new_tokens
        attempts.append(Attempt(task, answer.completion, answer.cut, grade, too_short))
    return attempts
