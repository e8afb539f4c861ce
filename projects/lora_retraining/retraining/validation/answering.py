"""Lets the models answer, one after the other in full precision, and goes on where a killed run was."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory
from mlflow_plugin.machine.threads import leave_busy_cores_alone
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.progress import Progress
from retraining.base_model import ModelFiles, choose_device, load_model, load_tokenizer
from retraining.checks.quantised_names import quantised_settings
from retraining.presets import Settings
from retraining.tasks import Task
from retraining.validation.generation import Writing, end_ids, padding_id, prompt_ids, text_of

BATCH_SIZES = {"cpu": 16, "accelerator": 64}
"""Completions at once, unless told; halved where memory is short."""


@dataclass(frozen=True)
class Answer:
    """What a model said to a task; `cut` when it ran into max_new_tokens."""

    completion: str
    cut: bool


class Side:
    """A model that answers tasks: the candidate, or the reference.

    Raises PhaseError when the model is quantised: what is validated is the full-precision model, as it will be used.
    """

    def __init__(self, files: ModelFiles, tasks: Sequence[Task], max_new_tokens: int, batch_size: int) -> None:
        if quantised := list(quantised_settings(files.config)):
            raise PhaseError(
                f"{files.folder} would be loaded quantised: config.json has {'; '.join(quantised)}. What that "
                "says holds for no model in full precision. Merge into a full-precision base."
            )
        self.files, self.tasks = files, tasks
        prompts = [prompt_ids(self.tokenizer, task.prompt) for task in tasks]
        self.writing = Writing(prompts, end_ids(self.tokenizer, _configured_ends(files)), max_new_tokens, batch_size)

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.files)

    def answers(self) -> dict[str, Answer]:
        """By the id of the task."""
        texts = (text_of(self.tokenizer, tokens) for tokens in self.writing.written)
        return {
            task.id: Answer(text, self.writing.cut(row))
            for row, (task, text) in enumerate(zip(self.tasks, texts, strict=True))
        }


def _configured_ends(files: ModelFiles) -> int | list[int] | None:
    """What the model's own settings call the end of a text."""
    try:
        configured = json.loads((files.folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        configured = {}
    return configured.get("eos_token_id", files.config.get("eos_token_id"))


def answer_all(
    phase: ActivePhase,
    sides: Mapping[str, Side],
    settings: Settings,
    state: Mapping[str, Any],
    every: int | None = None,
) -> int:
    """Lets each side answer all its tasks; returns the rounds that took. `state`, with the writing of each side in it,
    is saved after rounds in which that is due, or each `every` rounds; a resumed run goes on from there.

    Raises PhaseError when a model cannot be loaded or a single answer does not fit into memory.
    """
    rounds = phase.restore(state)
    for name, side in sides.items():
        if not side.writing.waiting:
            continue
        model = load_model(side.files, settings.dtype, settings.device)
        done = len(side.tasks) - len(side.writing.waiting)
        meter = Progress(f"{phase.name}: answers of the {name}", len(side.tasks), done)
        while side.writing.waiting:
            for _ in side.writing.advance(model, padding_id(side.tokenizer)):
                meter.advance()
            rounds += 1
            if phase.checkpoint_due(rounds, every=every):
                phase.checkpoint(state, rounds)
        meter.close()
        del model
        free_memory(tell=False)
    phase.end_of_steps()
    return rounds


def completions_at_once(settings: Settings, told: bool) -> int:
    """The size of a batch: that of the settings when somebody told it, else what suits the device. On a CPU, cores that
    are busy are left alone from here on.
    """
    device = choose_device(settings.device)
    if device.type == "cpu":
        leave_busy_cores_alone()
    return settings.batch_size if told else BATCH_SIZES["cpu" if device.type == "cpu" else "accelerator"]


def tokens_per_second(sides: Mapping[str, Side]) -> float:
    """Tokens written by all sides, over the seconds that took."""
    seconds = sum(side.writing.seconds for side in sides.values())
    return sum(side.writing.tokens for side in sides.values()) / seconds if seconds else 0.0
