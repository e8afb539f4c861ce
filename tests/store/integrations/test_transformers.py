"""`PhaseCallback`: a Trainer's training that was interrupted ends as if it had not been."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.tracking import MlflowClient
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    EarlyStoppingCallback,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from mlflow_plugin import start_phase
from mlflow_plugin.checkpoints.files import load_state
from mlflow_plugin.checkpoints.store import CheckpointStore, checkpoint_name
from mlflow_plugin.integrations import ddp
from mlflow_plugin.integrations.transformers import PhaseCallback
from mlflow_plugin.phase.active import ActivePhase

MLPROJECT = """\
name: NAME
entry_points:
  train:
    command: "python train.py"
    phase:
      checkpoints: {every: EVERY}
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


def adapted() -> PeftModel:
    """The same with a LoRA on its attention, all else frozen."""
    torch.manual_seed(4)
    return get_peft_model(tiny_llama(), LoraConfig(r=2, lora_dropout=0.2, target_modules=["q_proj", "v_proj"]))


class Training:
    """A phase that trains, run in this process by the real `start_phase` on a real store, again and again."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, every: int = 1, **changed: Any) -> None:
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
        (folder / "MLproject").write_text(MLPROJECT.replace("NAME", folder.name).replace("EVERY", str(every)))
        (folder / "train.py").write_text("")

    def trainer(self, *callbacks: TrainerCallback, **changed: Any) -> Trainer:
        model, data = changed.pop("model", None) or tiny_llama(), changed.pop("data", None) or examples(10)
        args = TrainingArguments(**(self.settings | changed))
        return Trainer(model, args, padded, data, examples(4), callbacks=list(callbacks))

    def phase(self, script: Callable[[ActivePhase], Trainer]) -> Trainer:
        """Runs the phase's script as one more run."""
        tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(self.folder)}
        self._patch.setenv("MLFLOW_RUN_ID", self.client.create_run("0", tags=tags).info.run_id)
        self._patch.chdir(self.folder)
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

    def saved(self, step: int) -> dict[str, Any]:
        """The weights in a checkpoint of the newest run."""
        store, name = CheckpointStore(self.newest().info.artifact_uri), checkpoint_name(step)
        with store.opened(name, store.manifest(name)) as folder:
            weights: dict[str, Any] = load_state(folder)["state"]["model"]
        return weights

    def tags(self) -> dict[str, str]:
        return dict(self.newest().data.tags)

    def history(self) -> dict[str, list[tuple[int, float]]]:
        """The metrics of the newest run, by step, without those that are times."""
        run = self.newest()
        names = [
            name for name in run.data.metrics if not name.startswith(("phase.", "checkpoint.")) and name not in TIMES
        ]
        return {
            name: sorted(
                (metric.step, metric.value) for metric in self.client.get_metric_history(run.info.run_id, name)
            )
            for name in names
        }

    def newest(self) -> Any:
        mine = f"tags.`mlflow.source.name` = '{self.folder}'"
        return self.client.search_runs(["0"], mine, order_by=["attributes.start_time DESC"])[0]


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # The Trainer collects garbage whenever it resumes: half a second with all that is imported.
    yield
    gc.unfreeze()
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
    "not seedable": {"accelerator_config": {"use_seedable_sampler": False}},
    "evaluating, cosine": {
        "eval_strategy": "steps",
        "eval_steps": 2,
        "data_seed": 5,
        "max_steps": 9,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 3,
    },
    "evaluating each epoch": {"eval_strategy": "epoch", "logging_strategy": "epoch"},
}
# An epoch has 5 steps, or 3 with accumulation, the last of one batch. A checkpoint follows every step, but what crashes
# here does so before it, so that training resumes from steps 2, 3, 5 (the second time without an own checkpoint) and 7.
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


def test_a_training_without_an_interruption_is_that_of_the_trainer_alone(
    make_training: Callable[..., Training],
) -> None:
    training = make_training("whole")
    alone = training.trainer()
    alone.train()
    trainer = training.run()
    assert all(torch.equal(*pair) for pair in zip(trainer.model.parameters(), alone.model.parameters(), strict=True))
    logged = {(entry["step"], entry["loss"]) for entry in alone.state.log_history if "loss" in entry}
    assert logged == set(training.history()["loss"])


def test_trainer_train_alone_is_refused_on_the_first_run_already(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("forgotten")

    def script(phase: ActivePhase) -> Trainer:
        trainer = training.trainer(PhaseCallback(phase))
        trainer.train()
        return trainer

    with pytest.raises(SystemExit) as ended:
        training.phase(script)
    assert ended.value.code == 1
    assert (
        "start the training with PhaseCallback(phase).train(trainer) instead of trainer.train()"
        in capsys.readouterr().err
    )


def test_processes_that_would_all_write_the_run_are_refused(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of mpirun do, of which the Trainer learns by itself and the phase does not."""
    training = make_training("alone")

    def script(phase: ActivePhase) -> Trainer:
        trainer = training.trainer()
        monkeypatch.setattr(ddp, "refuse_sharded_state", lambda trainer, phase: None)
        monkeypatch.setattr(TrainingArguments, "world_size", 2)
        PhaseCallback(phase).train(trainer)
        return trainer

    with pytest.raises(SystemExit) as ended:
        training.phase(script)
    assert ended.value.code == 1
    assert (
        "the Trainer would train in 2 processes, each of which would write the phase's run" in capsys.readouterr().err
    )


def test_an_interrupted_lora_resumes_and_its_checkpoints_hold_no_base_weights(
    make_training: Callable[..., Training],
) -> None:
    whole, resumed = make_training("whole"), make_training("resumed")
    uninterrupted = whole.run(model=adapted())
    resumed.crash("on_step_end", 4, model=adapted())
    state = resumed.saved(3)
    assert state["tensors"]
    assert all("lora_" in name for name in state["tensors"])
    resumed.crash("on_step_end", 6, model=adapted())
    trainer = resumed.run(model=adapted())
    ours, theirs = trainer.model.state_dict(), uninterrupted.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed.history() == whole.history()


def test_a_tied_weight_is_saved_once(make_training: Callable[..., Training]) -> None:
    training = make_training("tied")
    training.crash("on_step_end", 3)
    state = training.saved(2)
    assert state["tensors"]["lm_head.weight"].data_ptr() == state["tensors"]["model.embed_tokens.weight"].data_ptr()


@pytest.mark.parametrize(
    ("here", "message"),
    [
        (lambda: tiny_llama(32), "of another model: "),
        (lambda: adapted(), "of another model: "),
    ],
    ids=["wider", "adapted"],
)
def test_a_checkpoint_of_another_model_is_refused(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str], here: Callable[[], Any], message: str
) -> None:
    training = make_training("other")
    training.crash("on_step_end", 3)
    with pytest.raises(SystemExit):
        training.run(model=here())
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_a_plain_loop_is_refused(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("plain")

    def plain(phase: ActivePhase) -> Trainer:
        phase.checkpoint({"loss": 1.0}, 3)
        raise Crash

    with pytest.raises(Crash):
        training.phase(plain)
    with pytest.raises(SystemExit):
        training.run()
    assert "was not made by PhaseCallback" in capsys.readouterr().err


def test_an_adapter_is_not_put_on_another_base(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("base")
    training.crash("on_step_end", 3, model=adapted())
    base = adapted()
    with torch.no_grad():
        base.get_base_model().model.norm.weight.mul_(1.01)
    with pytest.raises(SystemExit):
        training.run(model=base)
    assert "an adapter for another base model" in capsys.readouterr().err


def test_other_callbacks_resume_from_their_state(make_training: Callable[..., Training]) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "loss", "learning_rate": 0.0}
    whole = make_training("whole", **settings, num_train_epochs=4)
    whole.run(EarlyStoppingCallback(6))
    resumed = make_training("resumed", **settings, num_train_epochs=4)
    with pytest.raises(Crash):
        resumed.run(EarlyStoppingCallback(6), CrashAt("on_step_end", 4))
    resumed.run(EarlyStoppingCallback(6))
    assert max(step for step, _ in whole.history()["eval_loss"]) == 7
    assert resumed.history() == whole.history()


def test_the_trainers_own_mlflow_callback_does_not_log_everything_twice(make_training: Callable[..., Training]) -> None:
    training = make_training("twice", report_to="mlflow")
    training.run()
    steps = [step for step, _ in training.history()["loss"]]
    assert steps == [3, 6, 9]


def test_the_speed_of_a_resumed_training_counts_the_steps_of_its_own_process(
    make_training: Callable[..., Training],
) -> None:
    training = make_training("speed")
    training.crash("on_step_end", 8)
    training.run()
    figures = training.newest().data.metrics
    assert figures["train_steps_per_second"] * figures["train_runtime"] == pytest.approx(3, rel=0.05)


class Endless(torch.utils.data.IterableDataset[dict[str, list[int]]]):
    """Examples in a row, read again when they are used up; the Trainer cannot know how many there are."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        return iter(examples(self._count))


@pytest.mark.parametrize("count", [30, 10])
def test_data_without_a_length_is_resumed_and_never_from_the_wrong_place(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str], count: int
) -> None:
    whole, resumed = make_training("whole", max_steps=9), make_training("resumed", max_steps=9)
    uninterrupted = whole.run(data=Endless(count))
    assert ("the data has no length and is read again" in capsys.readouterr().err) == (count == 10)
    for step in (4, 8):
        resumed.crash("on_step_end", step, data=Endless(count))
    trainer = resumed.run(data=Endless(count))
    assert f"resumes from step {7 if count == 30 else 5}" in capsys.readouterr().err
    assert all(
        torch.equal(*pair) for pair in zip(trainer.model.parameters(), uninterrupted.model.parameters(), strict=True)
    )


# --- NaN and Inf ---


class Poison(TrainerCallback):
    """Makes a weight infinite after so many steps, as a broken optimizer step does."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        if state.global_step == self._step:
            with torch.no_grad():
                model.model.norm.weight[0] = torch.inf


def test_a_nan_loss_stops_before_it_reaches_the_weights(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("nan", logging_steps=1000)
    seen: list[Trainer] = []

    def script(phase: ActivePhase) -> Trainer:
        trainer = training.trainer()
        seen.append(trainer)
        trainer.compute_loss_func = Failing(trainer, step=5, factor=torch.nan)
        PhaseCallback(phase).train(trainer)
        return trainer

    with pytest.raises(SystemExit):
        training.phase(script)
    assert "loss is nan at step 5" in capsys.readouterr().err
    assert all(bool(weight.isfinite().all()) for weight in seen[0].model.parameters())
    assert training.tags()["mlflow.phase.checkpoint"] == "step-000004"


def test_weights_that_are_not_finite_are_not_saved(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("inf", logging_steps=1000)
    with pytest.raises(SystemExit):
        training.run(Poison(4))
    assert "the weights are not finite after step 4" in capsys.readouterr().err
    assert training.tags()["mlflow.phase.checkpoint"] == "step-000003"


# --- out of memory ---


class Failing:
    """A loss that at one step is multiplied by a factor, or runs out of memory with more than `fits` examples."""

    def __init__(self, trainer: Trainer, step: int, factor: float = 1.0, fits: int = 1000) -> None:
        self._trainer, self._step, self._factor, self._fits = trainer, step, factor, fits

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        now = self._trainer.model.training and self._trainer.state.global_step >= self._step - 1
        if now and len(labels) > self._fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        logits = outputs.logits[:, :-1].flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten(), reduction="sum") / num_items_in_batch
        return loss * self._factor if now else loss


def starved(
    training: Training, fits: int, *callbacks: TrainerCallback, make: Callable[[], torch.nn.Module] = tiny_llama
) -> Trainer:
    """A training that from step 4 on has memory for so many examples at a time. It has no dropout, whose random
    numbers depend on the batch.
    """

    def script(phase: ActivePhase) -> Trainer:
        model = make()
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.0
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer = training.trainer(*callbacks, per_device_train_batch_size=6, model=model)
        trainer.compute_loss_func = Failing(trainer, step=4, fits=fits)
        PhaseCallback(phase).train(trainer)
        return trainer

    return training.phase(script)


@pytest.mark.parametrize("make", [tiny_llama, adapted], ids=["whole model", "adapter"])
def test_out_of_memory_divides_the_batch_and_repeats_the_same_step(
    make_training: Callable[..., Training], make: Callable[[], torch.nn.Module]
) -> None:
    ample, scarce = make_training("ample", num_train_epochs=4), make_training("scarce", num_train_epochs=4)
    whole, trainer = starved(ample, 6, make=make), starved(scarce, 1, make=make)
    assert (trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps) == (1, 6)
    history = scarce.history()
    assert history.pop("batch.size") == [(3, 1.0), (3, 3.0)]
    assert history.pop("batch.accumulation") == [(3, 2.0), (3, 6.0)]
    assert history.keys() == ample.history().keys()
    for name, values in ample.history().items():
        if name != "total_flos":  # rounded up to whole batches
            assert history[name] == [(step, pytest.approx(value, rel=1e-4)) for step, value in values]
    for ours, theirs in zip(trainer.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_run_that_ran_out_of_memory_is_resumed_with_the_batch_that_fits(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, resumed = make_training("whole", num_train_epochs=4), make_training("resumed", num_train_epochs=4)
    uninterrupted = starved(whole, 3)
    with pytest.raises(Crash):
        starved(resumed, 3, CrashAt("on_step_end", 6))
    assert "out of memory at step 4; continuing with 3 examples at a time instead of 6" in capsys.readouterr().err
    trainer = starved(resumed, 3)
    assert "out of memory" not in capsys.readouterr().err
    assert all(
        torch.equal(*pair) for pair in zip(trainer.model.parameters(), uninterrupted.model.parameters(), strict=True)
    )
    assert resumed.history() == whole.history()


def test_a_single_example_that_does_not_fit_ends_the_run(
    make_training: Callable[..., Training], capsys: pytest.CaptureFixture[str]
) -> None:
    training = make_training("none")
    with pytest.raises(SystemExit):
        starved(training, 0)
    assert "out of memory at step 4 with single examples" in capsys.readouterr().err
    assert training.tags()["mlflow.phase.checkpoint"] == "step-000003"


def test_the_batch_is_not_reduced_when_the_optimizer_runs_out_of_memory(
    make_training: Callable[..., Training],
) -> None:
    training = make_training("optimizer")

    class Full(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **kwargs: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def script(phase: ActivePhase) -> Trainer:
        trainer = training.trainer(callback := PhaseCallback(phase), Full())
        callback.train(trainer)
        return trainer

    with pytest.raises(torch.OutOfMemoryError):
        training.phase(script)


# --- signals ---


class Signal(TrainerCallback):
    """Sends this process a signal after so many steps."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_the_training_after_a_checkpoint(make_training: Callable[..., Training]) -> None:
    whole, resumed = make_training("whole"), make_training("resumed", every=1000)
    uninterrupted = whole.run()
    with pytest.raises(SystemExit):
        resumed.run(Signal(4))
    assert resumed.newest().info.status == "KILLED"
    assert resumed.tags()["mlflow.phase.checkpoint"] == "step-000004"
    trainer = resumed.run()
    assert all(
        torch.equal(*pair) for pair in zip(trainer.model.parameters(), uninterrupted.model.parameters(), strict=True)
    )
    assert resumed.history() == whole.history()
