"""`PhaseCallback`: a Trainer's training that was interrupted ends as if it had not been."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from mlflow_plugin import start_phase
from mlflow_plugin.active import ActivePhase
from mlflow_plugin.integrations.transformers import PhaseCallback
from mlflow_plugin.termination import Terminated

MLPROJECT = """\
name: NAME
entry_points:
  train:
    command: "python train.py"
    phase:
      checkpoints: {every: 1}
"""
TIMES = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
TIMES |= {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}


class Crash(RuntimeError):
    """Stands for whatever ends a process."""


class CrashAt(TrainerCallback):
    """Crashes when the Trainer calls `event` after so many steps."""

    def __init__(self, event: str, step: int) -> None:
        setattr(self, event, self._crash)
        self._step = step

    def _crash(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            raise Crash


def examples(count: int) -> list[dict[str, list[int]]]:
    """Texts of different lengths, as numbers."""
    source = torch.Generator().manual_seed(7)
    lengths = torch.randint(4, 12, (count,), generator=source).tolist()
    return [{"input_ids": torch.randint(1, 32, (length,), generator=source).tolist()} for length in lengths]


def padded(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(example["input_ids"]) for example in batch)
    rows = [example["input_ids"] + [0] * (longest - len(example["input_ids"])) for example in batch]
    tokens = torch.tensor(rows)
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long(), "labels": tokens.masked_fill(tokens == 0, -100)}


def tiny_llama(hidden_size: int = 16) -> LlamaForCausalLM:
    """A language model of 3,000 weights, with dropout, so that random states matter, and tied embeddings."""
    torch.manual_seed(3)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=hidden_size,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            attention_dropout=0.2,
            max_position_embeddings=16,
            tie_word_embeddings=True,
        )
    )


class Training:
    """A phase that trains, carried out in this process by the real `start_phase` on a real store, again and again."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, **changed: Any) -> None:
        self.client, self.folder, self._patch = MlflowClient(), folder, patch
        settings: dict[str, Any] = {
            "per_device_train_batch_size": 2,
            "num_train_epochs": 2,
            "logging_steps": 3,
            "learning_rate": 0.01,
            "max_grad_norm": 0.5,
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "output_dir": str(folder / "trainer"),
        }
        self.settings = settings | changed
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT.replace("NAME", folder.name))
        (folder / "train.py").write_text("")
        patch.chdir(folder)

    def trainer(self, *callbacks: TrainerCallback, **changed: Any) -> Trainer:
        model = changed.pop("model", None) or tiny_llama()
        args = TrainingArguments(**(self.settings | changed))
        data = examples(10)
        return Trainer(model, args, padded, data, examples(4), callbacks=list(callbacks))

    def phase(self, script: Callable[[ActivePhase], Trainer]) -> Trainer:
        """Runs the phase's script as one more run."""
        tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(self.folder)}
        self._patch.setenv("MLFLOW_RUN_ID", self.client.create_run("0", tags=tags).info.run_id)
        with start_phase() as phase:
            return script(phase)

    def run(self, *callbacks: TrainerCallback, **changed: Any) -> Trainer:
        def script(phase: ActivePhase) -> Trainer:
            trainer = self.trainer(*callbacks, **changed)
            PhaseCallback(phase).train(trainer)
            return trainer

        return self.phase(script)

    def crash(self, event: str, step: int, **changed: Any) -> None:
        with pytest.raises(Crash):
            self.run(CrashAt(event, step), **changed)

    def tags(self) -> dict[str, str]:
        return dict(self._newest().data.tags)

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """The metrics of the newest run, by step, without those that are times."""
        run = self._newest()
        names = [name for name in run.data.metrics if not name.startswith(("phase.", "checkpoint.")) and name not in TIMES]
        return {
            name: sorted((metric.step, metric.value) for metric in self.client.get_metric_history(run.info.run_id, name))
            for name in names
        }

    def _newest(self) -> Any:
        mine = f"tags.`mlflow.source.name` = '{self.folder}'"
        return self.client.search_runs(["0"], mine, order_by=["attributes.start_time DESC"])[0]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_training(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Training]]:
    """Makes trainings, each in a folder of its own, on one store."""

    def make(name: str, **settings: Any) -> Training:
        return Training(tmp_path / name, monkeypatch, **settings)

    yield make
    os.environ.pop("MLFLOW_RUN_ID", None)


SETTINGS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "accumulating": {"gradient_accumulation_steps": 2, "num_train_epochs": 4},
    "grouped by length": {"train_sampling_strategy": "group_by_length"},
    "own seed of the data": {"data_seed": 5},
    "not seedable": {"accelerator_config": {"use_seedable_sampler": False}},
    "evaluating": {"eval_strategy": "steps", "eval_steps": 2},
    "evaluating each epoch": {"eval_strategy": "epoch", "logging_strategy": "epoch"},
    "cosine, max_steps": {"max_steps": 9, "lr_scheduler_type": "cosine", "warmup_steps": 3},
}
# An epoch has 5 steps, or 3 with accumulation, the last of one batch. A checkpoint follows every step, but what crashes
# here does so before it, so that training goes on from steps 2, 3, 5 (the second time without an own checkpoint) and 7.
CRASHES = [("on_step_begin", 3), ("on_step_end", 4), ("on_step_end", 6), ("on_step_end", 6), ("on_step_end", 8)]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_an_interrupted_training_ends_as_if_it_had_not_been(
    make_training: Callable[..., Training], settings: dict[str, Any]
) -> None:
    whole = make_training("whole", **settings)
    uninterrupted = whole.run()
    expected, weights = whole.history(), uninterrupted.model.state_dict()
    resumed = make_training("resumed", **settings)
    for event, step in CRASHES:
        resumed.crash(event, step)
    trainer = resumed.run()
    assert resumed.tags()["phase.verdict"] == "resume"
    assert resumed.history() == expected
    assert all(torch.equal(trainer.model.state_dict()[name], weights[name]) for name in weights)
