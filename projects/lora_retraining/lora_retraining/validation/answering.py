"""Let models answer tasks in full precision, one model after the other, and resume after an interruption."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from projects_common.models.devices import choose_device
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer

from lora_retraining.checks.quantised_names import quantised_settings
from lora_retraining.data.tasks import Task
from lora_retraining.settings import Settings
from lora_retraining.validation.generation import GenerationState, end_ids, padding_id, prompt_ids, text_of
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory
from mlflow_plugin.machine.threads import leave_busy_cores_alone
from mlflow_plugin.progress import Progress

BATCH_SIZES = {"cpu": 16, "accelerator": 64}
"""Completions at once by default; halved if memory runs out."""


class Checkpoints(Protocol):
    """Saves the state of a loop and restores it: a phase, or nothing in a test."""

    def restore(self, state: Mapping[str, Any]) -> int:
        """Put the saved state back into the same objects; return the steps done."""

    def checkpoint_due(self, done: int, total: int | None = None, *, every: int | None = None) -> bool:
        """Decide if the state is saved after `done` steps."""

    def checkpoint(self, state: Mapping[str, Any], step: int) -> None:
        """Save the state after `step` steps."""

    def end_of_steps(self) -> None:
        """Declare that no checkpoint follows."""


@dataclass(frozen=True)
class Answer:
    """A model's completion of a task; `cut` if it ran into max_new_tokens."""

    completion: str
    cut: bool


class Respondent:
    """A model that answers tasks: the candidate, or the reference.

    Args:
        files: The model.
        tasks: The tasks to answer.
        max_new_tokens: Tokens of a completion at most.
        batch_size: Completions at once.

    Raises:
        PhaseError: The model is quantised. The full-precision model is validated, as it will be used.
    """

    def __init__(self, files: ModelFiles, tasks: Sequence[Task], max_new_tokens: int, batch_size: int) -> None:
        if quantised := list(quantised_settings(files.config)):
            raise PhaseError(
                f"{files.folder} would be loaded quantised: config.json has {'; '.join(quantised)}. A verdict on it "
                "holds for no model in full precision. Merge into a full-precision base."
            )
        self.files, self.tasks = files, tasks
        prompts = [prompt_ids(self.tokenizer, task.prompt) for task in tasks]
        ends = end_ids(self.tokenizer, _configured_ends(files))
        self.generation = GenerationState(prompts, ends, max_new_tokens, batch_size)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of the model."""
        return load_tokenizer(self.files)

    def answers(self) -> dict[str, Answer]:
        """Return the answers by the id of their task."""
        texts = (text_of(self.tokenizer, tokens) for tokens in self.generation.written)
        return {
            task.id: Answer(text, self.generation.cut(row))
            for row, (task, text) in enumerate(zip(self.tasks, texts, strict=True))
        }


def _configured_ends(files: ModelFiles) -> int | list[int] | None:
    """Return the end tokens of the model's own settings."""
    try:
        configured = json.loads((files.folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        configured = {}
    return configured.get("eos_token_id", files.config.get("eos_token_id"))


def answer_all(
    checkpoints: Checkpoints,
    respondents: Mapping[str, Respondent],
    settings: Settings,
    state: Mapping[str, Any],
    every: int | None = None,
) -> int:
    """Let each respondent answer all its tasks; return the rounds that this took.

    Args:
        checkpoints: Saves the state, and restores that of an interrupted run.
        respondents: By name.
        settings: With dtype and device.
        state: What is saved; the generation of each respondent is part of it.
        every: Rounds between checkpoints; None leaves it to `checkpoints`.

    Raises:
        PhaseError: A model cannot be loaded, or a single answer does not fit into memory.
    """
    rounds = checkpoints.restore(state)
    for name, respondent in respondents.items():
        if not respondent.generation.waiting:
            continue
        model = load_model(respondent.files, settings.dtype, settings.device)
        done = len(respondent.tasks) - len(respondent.generation.waiting)
        meter = Progress(f"answers of the {name}", len(respondent.tasks), done)
        while respondent.generation.waiting:
            for _ in respondent.generation.advance(model, padding_id(respondent.tokenizer)):
                meter.advance()
            rounds += 1
            if checkpoints.checkpoint_due(rounds, every=every):
                checkpoints.checkpoint(state, rounds)
        meter.close()
        del model
        free_memory(tell=False)
    checkpoints.end_of_steps()
    return rounds


def completions_at_once(settings: Settings, *, given: bool) -> int:
    """Return the batch size: that of the settings if it was given, else one that suits the device.

    On a CPU, busy cores are left alone from here on.
    """
    device = choose_device(settings.device)
    if device.type == "cpu":
        leave_busy_cores_alone()
    return settings.batch_size if given else BATCH_SIZES["cpu" if device.type == "cpu" else "accelerator"]


def tokens_per_second(respondents: Mapping[str, Respondent]) -> float:
    """Return the tokens that all respondents wrote, over the seconds this took."""
    seconds = sum(respondent.generation.seconds for respondent in respondents.values())
    return sum(respondent.generation.tokens for respondent in respondents.values()) / seconds if seconds else 0.0
