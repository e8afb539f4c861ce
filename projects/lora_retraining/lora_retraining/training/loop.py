"""Run one training with the Trainer, and return its figures."""

import logging
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import PrinterCallback, Trainer, TrainingArguments

from lora_retraining.base_model.loading import deprecations_hidden
from lora_retraining.data.chat import Row
from lora_retraining.settings import Settings
from lora_retraining.training.adapter import trained_parameters
from lora_retraining.training.batches import ShuffledGroups, collate, keeps_rows_apart, pack
from lora_retraining.training.monitors import Log, Monitor, mean_loss
from lora_retraining.training.plan import Plan, make_plan
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import is_out_of_memory
from mlflow_plugin.machine.ranks import process_count

_logger = logging.getLogger(__name__)

RunTrainer = Callable[[Trainer], object]
"""Runs a Trainer from its checkpoint, if there is one, and saves checkpoints on the way."""
PROBE_ROWS = 16
"""Rows whose loss is measured before and after training."""
LOGS = 200
"""The Trainer's logs at most, however long it trains."""


def training_arguments(plan: Plan, settings: Settings, folder: str, cpu: bool, autocast: bool) -> TrainingArguments:
    """Build the Trainer's arguments. It saves and reports nothing: checkpoints and metrics are the phase's."""
    checkpointing: dict[str, Any] = {}
    if settings.gradient_checkpointing:  # Named only when wanted: the name is changing in transformers.
        checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    with deprecations_hidden():
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
    """A Trainer whose batches come in random order when they are grouped by length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[Any] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        rows: Any = train_dataset or self.train_dataset
        return ShuffledGroups(
            self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size, rows
        )


def make_trainer(model: PeftModel, sequences: Sequence[Row], arguments: TrainingArguments, padding: int) -> Trainer:
    """Build a Trainer that prints nothing. `padding` is the token that fills up rows."""
    trainer = GroupingTrainer(
        model,
        arguments,
        data_collator=partial(collate, padding=padding),
        train_dataset=sequences,  # type: ignore[arg-type]  # A list has all that is needed of a Dataset.
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def train_adapter(
    model: PeftModel,
    rows: Sequence[Row],
    settings: Settings,
    padding: int,
    autocast: bool,
    *,
    run: RunTrainer,
    log: Log,
    resumed: bool,
) -> dict[str, Any]:
    """Train the model's adapter in place and return the figures: the same for the same training, without times.

    Args:
        model: The base model with its adapter.
        rows: Encoded rows.
        settings: With the batch size and accumulation of this process.
        padding: The token that fills up rows.
        autocast: Multiply in bfloat16 whatever the dtype of the weights.
        run: Runs the Trainer.
        log: Logs metrics at a step.
        resumed: A checkpoint exists; it also holds the loss before the training.

    Raises:
        PhaseError: The training breaks, or not even a single row fits into memory.
    """
    device = model.device
    model.config.use_cache = False  # With a cache transformers does not look for packed rows.
    packing = settings.packing
    if packing == "packed" and not keeps_rows_apart(model, device):
        _logger.info("this model's attention does not keep packed rows apart; rows of like length share a batch")
        packing = "grouped"
    sequences: Sequence[Row] = pack(rows, settings.max_length) if packing == "packed" else rows
    plan = make_plan(rows, len(sequences), settings, process_count())
    _logger.info(plan.sentence())
    monitor = Monitor(log, plan)
    probe = rows[:PROBE_ROWS]
    if not resumed:
        monitor.loss_before = mean_loss(model, probe, device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(plan, settings, folder, device.type == "cpu", autocast)
        trainer = make_trainer(model, sequences, arguments, padding)
        trainer.add_callback(monitor)
        _run(run, trainer)
    # Without the autocast that accelerate puts around the model: the loss before was measured without it, too.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    return _figures(plan, trainer, monitor, mean_loss(model, probe, device), autocast)


def _run(run: RunTrainer, trainer: Trainer) -> None:
    try:
        run(trainer)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        text = " ".join(str(error).split())[:200]
    else:
        return
    # Within a batch the phase halves it. This was around it: the optimizer's state, or weights being moved.
    raise PhaseError(
        f"out of memory outside of a batch, where a smaller one does not help ({text}). Lower the rank, take "
        "dtype=bfloat16 or a smaller model, or end other programs that use this memory; then run the phase again."
    )


def _figures(plan: Plan, trainer: Trainer, monitor: Monitor, loss_after: float, autocast: bool) -> dict[str, Any]:
    if trainer.state.global_step != plan.steps:
        _logger.warning(f"{plan.steps} steps were planned, {trainer.state.global_step} were taken")
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
