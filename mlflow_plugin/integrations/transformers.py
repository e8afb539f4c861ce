"""Run the training of a Hugging Face `Trainer` in a phase: `PhaseCallback(phase).train(trainer)`."""

import logging
import math
import sys
import tempfile
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import MLflowCallback
from transformers.trainer_utils import TrainOutput, has_length

from mlflow_plugin.checkpoints.state import capture_random_state, collect, restore, restore_random_state
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory, is_out_of_memory
from mlflow_plugin.integrations import ddp
from mlflow_plugin.integrations.trainer_state import (
    LoopState,
    ModelWeights,
    restore_batch_size,
    set_batch_size,
    write_resume_folder,
)
from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.store.schema import BATCH_ACCUMULATION, BATCH_SIZE

_logger = logging.getLogger(__name__)


class PhaseCallback(TrainerCallback):
    """Save checkpoints of a `Trainer`'s training, resume from them, and log and check its metrics.

    Call `PhaseCallback(phase).train(trainer)` instead of `trainer.train()`. A resumed training restores the state of
    the interrupted one exactly: weights, optimizer, schedule, random states, the order of the examples, losses that
    were not logged yet, and the states of other callbacks. The phase saves the checkpoints: set `save_strategy="no"` to
    avoid those of the Trainer. With several processes (DDP) each process calls it; rank 0 saves and logs.

    Args:
        phase: The phase that `start_phase` returned in this process.
    """

    def __init__(self, phase: ActivePhase) -> None:
        self._phase = phase
        self._trainer: Trainer | None = None
        self._starting = False
        self._carried: dict[str, Any] | None = None
        self._resume_random: dict[str, Any] | None = None
        self._in_batch = False
        self._streams: ddp.RandomStreams | None = None
        """None when one process trains."""

    def train(self, trainer: Trainer, ignore_keys_for_eval: list[str] | None = None) -> TrainOutput:
        """Train from the checkpoint of the interrupted run, or from the beginning.

        When a batch does not fit into memory, the batch size is divided by its smallest factor, the accumulation is
        multiplied by it, and training continues with the same step. With several processes the batch size stays, and
        the PhaseError states which one to set.

        Args:
            trainer: The Trainer, before its `train` was called.
            ignore_keys_for_eval: As in `Trainer.train`.

        Returns:
            The result of `Trainer.train`.

        Raises:
            PhaseError: A single example does not fit into memory, a loss, gradient or weight is NaN or Inf, the state
                is sharded (DeepSpeed, FSDP), the checkpoint is of another model, or another process is gone.
            machine.signals.Terminated: A signal asked the process to end. A checkpoint is saved before.
        """
        self._prepare(trainer)
        saved = self._resumed_loop()
        try:
            while True:
                try:
                    return self._train(trainer, saved, ignore_keys_for_eval)
                except Exception as error:
                    if self._streams is not None and ddp.other_process_lost(error):
                        cause = str(error).strip().partition("\n")[0][:300]
                        raise PhaseError(
                            f"{self._phase.name}: another process of the training is gone, or does not answer; its "
                            f"output is above. Run the phase again: it resumes from the last checkpoint. ({cause})"
                        ) from error
                    if not (self._in_batch and is_out_of_memory(error)):
                        raise
                # Outside the except clause: the error keeps the tensors alive that filled the memory.
                saved = self._shrink(trainer)
        finally:
            self._phase.end_of_steps()

    def _resumed_loop(self) -> Mapping[str, Any] | None:
        """Return the state of `LoopState` in the checkpoint, without keeping the rest of it in memory."""
        checkpoint = self._phase.resumed_checkpoint()
        if self._streams is not None:
            ddp.check_same_start(checkpoint, self._phase.name)
        if checkpoint is None:
            return None
        if "loop" not in checkpoint.state:
            raise PhaseError(
                f"{self._phase.name}: {checkpoint.name} of run {checkpoint.run_id} was not made by PhaseCallback. "
                "Start from the beginning with -P decide=rerun, or go back to the script that saved it."
            )
        loop: Mapping[str, Any] = checkpoint.state["loop"]
        return loop

    def _prepare(self, trainer: Trainer) -> None:
        """Register this callback, and switch off the options that would spoil a resume or hide a NaN."""
        args, name = trainer.args, self._phase.name
        ddp.refuse_sharded_state(trainer, name)
        if args.world_size not in (1, self._phase.processes):
            raise PhaseError(
                f"{name}: the Trainer would train in {args.world_size} processes, each of which would write the "
                "phase's run. Start them with torchrun or accelerate launch, or call phase.in_processes first in the "
                "block."
            )
        self._streams = ddp.RandomStreams(args.seed) if args.world_size > 1 else None
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        if any(isinstance(callback, MLflowCallback) for callback in trainer.callback_handler.callbacks):
            trainer.remove_callback(MLflowCallback)
            _logger.warning(
                f"{name}: the phase logs the metrics; report_to='mlflow' is ignored, since it would log them twice"
            )
        if args.auto_find_batch_size:
            args.auto_find_batch_size = False
            _logger.info(
                f"{name}: auto_find_batch_size is off: the phase reduces the batch size itself and keeps its steps"
            )
        # The first hides a NaN in the mean loss, the second trains again on examples from before the interruption.
        args.logging_nan_inf_filter = args.ignore_data_skip = False
        if args.save_strategy != "no":
            _logger.info(
                f"{name}: the Trainer also saves its own checkpoints to {args.output_dir}; set save_strategy='no' to "
                "avoid them"
            )
        self._trainer, self._loop = trainer, LoopState(trainer)

    def _train(
        self, trainer: Trainer, saved: Mapping[str, Any] | None, ignore_keys_for_eval: list[str] | None
    ) -> TrainOutput:
        self._starting, self._in_batch = True, False
        if saved is None:
            return trainer.train(ignore_keys_for_eval=ignore_keys_for_eval)
        restore_batch_size(trainer, saved, self._phase.name)
        trainer.args.eval_on_start = False  # The interrupted run has done it.
        with tempfile.TemporaryDirectory(prefix="mlflow-phases-") as folder:
            write_resume_folder(trainer, saved, Path(folder))
            return trainer.train(folder, ignore_keys_for_eval=ignore_keys_for_eval)

    def _shrink(self, trainer: Any) -> Mapping[str, Any]:
        """Reduce the batch size after a step that failed before it changed weights. Return the state of the loop."""
        args, step = trainer.args, trainer.state.global_step
        batch = args.per_device_train_batch_size
        factor = next((number for number in range(2, batch + 1) if batch % number == 0), None)
        if factor is None:
            raise PhaseError(
                f"{self._phase.name}: out of memory at step {step + 1} with single examples. Shorten them, set "
                "gradient_checkpointing=True, or use a smaller model."
            )
        if self._streams is not None:
            raise PhaseError(
                f"{self._phase.name}: out of memory at step {step + 1} in process {rank()}. A single process of "
                f"several cannot reduce its batch size. Set per_device_train_batch_size={batch // factor} instead of "
                f"{batch} and gradient_accumulation_steps={args.gradient_accumulation_steps * factor}: a step then has "
                "the same examples."
            )
        set_batch_size(trainer, batch // factor, args.gradient_accumulation_steps * factor)
        trainer.model_init = None  # It would create a new model, but the trained one must continue.
        trainer.model.zero_grad(set_to_none=True)
        free_memory()
        self._phase.log({BATCH_SIZE: batch // factor, BATCH_ACCUMULATION: args.gradient_accumulation_steps}, step=step)
        _logger.info(
            f"{self._phase.name}: out of memory at step {step + 1}; continuing with {batch // factor} examples at a "
            f"time instead of {batch}, {args.gradient_accumulation_steps} times a step"
        )
        # Including the optimizer: its tensors stay in place, but a new schedule would reset its learning rate.
        self._carried = collect({name: part for name, part in self._state.items() if name != "model"})
        loop: Mapping[str, Any] = self._carried["loop"]
        return loop

    # --- called by the Trainer ---

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self._trainer
        if trainer is None or not self._starting:
            raise PhaseError(
                f"{self._phase.name}: start the training with PhaseCallback(phase).train(trainer) instead of "
                "trainer.train(), which cannot resume an interrupted run."
            )
        self._starting = False
        self._weights = ModelWeights(trainer.model)
        self._state: dict[str, Any] = {
            "model": self._weights,
            "optimizer": trainer.optimizer,
            "scheduler": trainer.lr_scheduler,
            "loop": self._loop,
        }
        if trainer.accelerator.scaler is not None:
            self._state["scaler"] = trainer.accelerator.scaler
        if self._carried is not None:
            restore({name: self._state[name] for name in self._carried}, self._carried)
            self._carried, self._resume_random = None, {}
        elif self._phase.restore(self._state):
            of_epoch = self._loop.between_epochs or self._loop.of_several
            self._resume_random = {} if of_epoch else capture_random_state()
        self._considered = self._first_step = state.global_step
        self._epochs_begun = 0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._streams is not None:
            self._streams.epoch_begins()
        if self._resume_random is None:
            self._loop.epoch_random = capture_random_state()
            self._after_step(state, between_epochs=True)
        else:
            restore_random_state(self._loop.epoch_random)
        self._epochs_begun += 1
        if self._epochs_begun == 2 and not has_length(kwargs["train_dataloader"]):
            # A resumed Trainer skips as many batches as there were steps. One pass over the data has fewer.
            self._considered = sys.maxsize
            self._phase.end_of_steps()
            _logger.warning(
                f"{self._phase.name}: the data has no length and is read again, so no checkpoint is saved "
                "from now on. Give it __len__, or let it yield as many examples as max_steps needs."
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._resume_random:
            restore_random_state(self._resume_random)
        self._resume_random = None
        self._after_step(state, between_epochs=False)
        if self._streams is not None:
            self._streams.step_begins(state.global_step)
        self._in_batch = True

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # From here the weights change, so a step that fails now cannot be repeated.
        self._in_batch = False
        if self._streams is not None:
            self._loop.average_loss()
        loss = self._loop.loss_since_log()
        if not math.isfinite(loss):
            self._phase.log(loss=loss, step=state.global_step + 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        logs = logs if logs is not None else {}
        for name in {"train_samples_per_second", "train_steps_per_second"} & logs.keys():
            # The Trainer divides all steps, also those before the resume, by the duration of this process.
            logs[name] *= (state.global_step - self._first_step) / max(1, state.global_step)
        self._log(logs, state.global_step)

    def _log(self, logs: Mapping[str, Any], step: int) -> None:
        figures = {name: float(value) for name, value in logs.items() if isinstance(value, Real) and name != "step"}
        self._phase.log(figures, step=step)

    def _after_step(self, state: TrainerState, *, between_epochs: bool) -> None:
        """Save a checkpoint when one is due.

        Called before the next step, when the log and the evaluation of the last one are done.
        """
        done = state.global_step
        if done <= self._considered:
            return
        self._considered = done
        if self._phase.checkpoint_due(done, state.max_steps):
            if not torch.isfinite(torch.nn.utils.get_total_norm(self._weights.trained(), math.inf)):
                raise PhaseError(
                    f"{self._phase.name}: the weights are not finite after step {done}; they are not saved. Fix the "
                    "cause and run the phase again: it resumes from the previous checkpoint."
                )
            self._loop.between_epochs = between_epochs
            self._phase.checkpoint(self._state, done)
