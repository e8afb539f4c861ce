"""One training: the Trainer with what belongs to it, and what came of it."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, TrainingArguments

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import is_out_of_memory
from mlflow_plugin.integrations.transformers import PhaseCallback
from mlflow_plugin.machine.ranks import process_count
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.progress import say
from retraining.base_model import renaming_untold
from retraining.presets import Settings
from retraining.training.adapter import trained_parameters
from retraining.training.batches import Row, ShuffledGroups, collate, keeps_rows_apart, pack
from retraining.training.monitors import Monitor, mean_loss
from retraining.training.plan import Plan, make_plan

PROBE_ROWS = 16
"""Rows whose loss is measured before and after training."""
LOGS = 200
"""At most so many of the Trainer's logs, however long it trains."""


def training_arguments(plan: Plan, settings: Settings, folder: str, cpu: bool, autocast: bool) -> TrainingArguments:
    """The Trainer's arguments. Checkpoints and metrics are the phase's, so the Trainer saves and reports nothing."""
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:  # Named only when wanted: the name is changing in transformers.
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    with renaming_untold():
        return TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=plan.batch_size,
            gradient_accumulation_steps=plan.accumulation,
            num_train_epochs=plan.epochs,
            learning_rate=plan.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=plan.warmup_steps,
            max_grad_norm=1.0,
            bf16=autocast,
            train_sampling_strategy="group_by_length" if plan.packing == "grouped" else "random",
            logging_steps=max(1, plan.steps // LOGS),
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            seed=settings.seed,
            use_cpu=cpu,
            ddp_backend="gloo" if cpu and process_count() > 1 else None,
            dataloader_pin_memory=not cpu,
            remove_unused_columns=False,
            **checkpointing,
        )


class GroupingTrainer(Trainer):
    """A Trainer whose batches, when grouped by length, come in random order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[Any] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows: Any = train_dataset or self.train_dataset
        return ShuffledGroups(
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size, rows
        )


def make_trainer(model: PeftModel, sequences: Sequence[Row], arguments: TrainingArguments, padding: int) -> Trainer:
    """A Trainer that prints nothing. `padding`: the token that fills up rows."""
    trainer = GroupingTrainer(
        model,
        arguments,
        data_collator=partial(collate, padding=padding),
        train_dataset=sequences,  # type: ignore[arg-type]  # A list has all that is needed of a Dataset.
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train_adapter(
    phase: ActivePhase, model: PeftModel, rows: Sequence[Row], settings: Settings, padding: int, autocast: bool
) -> dict[str, Any]:
    """Trains the model's adapter in place, from where an interrupted run stopped, and returns what came of it: the same
    for the same training, without times.

    `padding`: the token that fills up rows. `autocast`: whether to multiply in bfloat16 whatever the weights are in.
    Raises PhaseError when training breaks or even single rows do not fit into memory.
    """
    device = model.device
    model.config.use_cache = False  # With a cache transformers does not look for packed rows.
    packing = settings.packing
    if packing == "packed" and not keeps_rows_apart(model, device):
        say(f"{phase.name}: this model's attention does not keep packed rows apart; rows of like length share a batch")
        packing = "grouped"
    sequences: Sequence[Row] = pack(rows, settings.max_length) if packing == "packed" else rows
    plan = make_plan(rows, len(sequences), settings, process_count())
    say(f"{phase.name}: {plan.sentence()}")
    monitor = Monitor(phase, plan)
    probe = rows[:PROBE_ROWS]
    if phase.resumed_checkpoint() is None:  # Else the checkpoint has it.
        monitor.loss_before = mean_loss(model, probe, device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(plan, settings, folder, device.type == "cpu", autocast)
        trainer = make_trainer(model, sequences, arguments, padding)
        trainer.add_callback(monitor)
        _train(phase, trainer)
    # Off with the autocast that accelerate puts around the model: the loss before was without it, too.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return _outcome(plan, trainer, monitor, mean_loss(model, probe, device), autocast)


def _train(phase: ActivePhase, trainer: Trainer) -> None:
    try:
        PhaseCallback(phase).train(trainer)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:200]
    else:
        return
    # Within a batch the phase halves it; this was around it: the optimizer's state, or the weights on their way.
    raise PhaseError(
        f"{phase.name}: out of memory outside of a batch, where a smaller one does not help ({text}). Lower the rank, "
        "take dtype=bfloat16 or a smaller model, or end what else uses this memory; then run it again."
    )


def _outcome(plan: Plan, trainer: Trainer, monitor: Monitor, loss_after: float, autocast: bool) -> dict[str, Any]:
    if trainer.state.global_step != plan.steps:
        say(f"attention: {plan.steps} steps were planned, {trainer.state.global_step} were taken")
    model: Any = trainer.model
    return {
        **asdict(plan),
        "steps": trainer.state.global_step,
        "batch_size_used": trainer.args.per_device_train_batch_size,
        "accumulation_used": trainer.args.gradient_accumulation_steps,
        "trained_parameters": trained_parameters(model),
        "dtype": str(model.dtype).removeprefix("torch."),
        "autocast": "bfloat16" if autocast else "none",
        "loss_before": monitor.loss_before,
        "loss_after": loss_after,
        "loss_ratio": loss_after / monitor.loss_before if monitor.loss_before else 1.0,
        "largest_gradient": monitor.largest_gradient,
    }
