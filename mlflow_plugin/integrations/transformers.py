"""A phase around the Hugging Face `Trainer`: `PhaseCallback(phase).train(trainer)`."""

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
    go_on_with_batch,
    set_batch_size,
    write_resume_folder,
)
from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.store.schema import BATCH_ACCUMULATION, BATCH_SIZE

_logger = logging.getLogger(__name__)


class PhaseCallback(TrainerCallback):
    """Saves checkpoints of a `Trainer`'s training, goes on from them, logs its metrics and watches over it.

    `PhaseCallback(phase).train(trainer)` stands where `trainer.train()` stood. What the interrupted run had is put back
    exactly: weights, optimizer, schedule, random states, the order of the examples, losses not yet logged, the states
    of other callbacks. Checkpoints are those of the phase, so `save_strategy="no"` spares the Trainer's own.

    Of several processes (DDP) each calls it with what `start_phase` gave there; rank 0 saves and logs.
    """

    def __init__(self, phase: ActivePhase) -> None:
        self._phase = phase
        self._trainer: Trainer | None = None
        self._starting = False
        self._carried: dict[str, Any] | None = None
        self._resume_random: dict[str, Any] | None = None
        self._in_batch = False
        self._streams: ddp.RandomStreams | None = None
        """Only where several processes train."""

    def train(self, trainer: Trainer, ignore_keys_for_eval: list[str] | None = None) -> TrainOutput:
        """`trainer.train()`, from where the interrupted run stopped.

        When the memory does not suffice for a batch, the batch is halved (or divided by its smallest factor), the
        accumulation multiplied alike, and training goes on from the step it was in. Raises PhaseError when it does not
        even suffice for single examples, when training breaks (NaN, Inf), for a state that is spread over processes
        (DeepSpeed, FSDP), and for a checkpoint of another model; `termination.Terminated` after a signal, once a
        checkpoint is saved. Of several processes none halves its batch: what to set is in the PhaseError, and in that
        for another process that is gone.
        """
        self._prepare(trainer)
        saved = self._resumed_loop()
        try:
            while True:
                try:
                    return self._train(trainer, saved, ignore_keys_for_eval)
                except Exception as error:
                    if self._streams is not None and ddp.other_process_lost(error):
                        told = str(error).strip().partition("\n")[0][:300]
                        raise PhaseError(
                            f"{self._phase.name}: another process of the training is gone, or does not answer; what it "
                            f"said is above. Run it again to go on from the last checkpoint. ({told})"
                        ) from error
                    if not (self._in_batch and is_out_of_memory(error)):
                        raise
                # Outside the except clause: the error holds on to what filled the memory.
                saved = self._shrink(trainer)
        finally:
            self._phase.end_of_steps()

    def _resumed_loop(self) -> Mapping[str, Any] | None:
        """What `LoopState` saved; the rest of the checkpoint is not held on to."""
        checkpoint = self._phase.resumed_checkpoint()
        if self._streams is not None:
            ddp.check_same_start(checkpoint, self._phase.name)
        if checkpoint is None:
            return None
        if "loop" not in checkpoint.state:
            raise PhaseError(
                f"{self._phase.name}: {checkpoint.name} of run {checkpoint.run_id} was not made by PhaseCallback. "
                "Start anew with -P decide=rerun, or go back to the script that saved it."
            )
        loop: Mapping[str, Any] = checkpoint.state["loop"]
        return loop

    def _prepare(self, trainer: Trainer) -> None:
        """Makes this callback the Trainer's, and what would spoil a resume or hide a NaN ineffective."""
        args, name = trainer.args, self._phase.name
        ddp.refuse_spread_state(trainer, name)
        if args.world_size not in (1, self._phase.processes):
            raise PhaseError(
                f"{name}: the Trainer would train in {args.world_size} processes, of which each takes itself for the "
                "phase. Start them with torchrun or accelerate launch, or call phase.in_processes first in the block."
            )
        self._streams = ddp.RandomStreams(args.seed) if args.world_size > 1 else None
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        if any(isinstance(callback, MLflowCallback) for callback in trainer.callback_handler.callbacks):
            trainer.remove_callback(MLflowCallback)
            _logger.warning(
                f"{name}: the phase logs the metrics; report_to mlflow is left out, or each would be there twice"
            )
        if args.auto_find_batch_size:
            args.auto_find_batch_size = False
            _logger.info(f"{name}: auto_find_batch_size is off: the phase halves the batch and keeps the steps done")
        # These hide a NaN behind the mean loss, and train again on what was seen before the interruption.
        args.logging_nan_inf_filter = args.ignore_data_skip = False
        if args.save_strategy != "no":
            _logger.info(
                f"{name}: the Trainer saves checkpoints of its own to {args.output_dir}; save_strategy='no' spares them"
            )
        self._trainer, self._loop = trainer, LoopState(trainer)

    def _train(
        self, trainer: Trainer, saved: Mapping[str, Any] | None, ignore_keys_for_eval: list[str] | None
    ) -> TrainOutput:
        self._starting, self._in_batch = True, False
        if saved is None:
            return trainer.train(ignore_keys_for_eval=ignore_keys_for_eval)
        go_on_with_batch(trainer, saved, self._phase.name)
        trainer.args.eval_on_start = False  # It was done when the training really started.
        with tempfile.TemporaryDirectory(prefix="mlflow-phases-") as folder:
            write_resume_folder(trainer, saved, Path(folder))
            return trainer.train(folder, ignore_keys_for_eval=ignore_keys_for_eval)

    def _shrink(self, trainer: Any) -> Mapping[str, Any]:
        """Divides the batch after a step that failed before it changed anything; the state to go on from."""
        args, step = trainer.args, trainer.state.global_step
        batch = args.per_device_train_batch_size
        factor = next((number for number in range(2, batch + 1) if batch % number == 0), None)
        if factor is None:
            raise PhaseError(
                f"{self._phase.name}: out of memory at step {step + 1} with single examples. Shorten them, set "
                "gradient_checkpointing=True, or take a smaller model."
            )
        if self._streams is not None:
            raise PhaseError(
                f"{self._phase.name}: out of memory at step {step + 1} in process {rank()}, and one of several cannot "
                f"take a smaller batch alone. Set batches of {batch // factor} instead of {batch} and an accumulation "
                f"of {args.gradient_accumulation_steps * factor}, which gives the same steps."
            )
        set_batch_size(trainer, batch // factor, args.gradient_accumulation_steps * factor)
        trainer.model_init = None  # It would make a new model where the trained one is to go on.
        trainer.model.zero_grad(set_to_none=True)
        free_memory()
        self._phase.log({BATCH_SIZE: batch // factor, BATCH_ACCUMULATION: args.gradient_accumulation_steps}, step=step)
        _logger.info(
            f"{self._phase.name}: out of memory at step {step + 1}; goes on with {batch // factor} examples at a time "
            f"instead of {batch}, {args.gradient_accumulation_steps} times a step"
        )
        # With the optimizer: its tensors stay where they are, but a new schedule would reset its learning rate.
        self._carried = collect({name: part for name, part in self._state.items() if name != "model"})
        loop: Mapping[str, Any] = self._carried["loop"]
        return loop

    # --- what the Trainer calls ---

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        trainer = self._trainer
        if trainer is None or not self._starting:
            raise PhaseError(
                f"{self._phase.name}: start the training with PhaseCallback(phase).train(trainer) instead of "
                "trainer.train(), which cannot go on from where an interrupted run stopped."
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
            # The Trainer passes over as many batches as there were steps, and would find too few of them.
            self._considered = sys.maxsize
            self._phase.end_of_steps()
            _logger.warning(
                f"{self._phase.name}: attention: the data has no length and is read again, so no checkpoint is saved "
                "from here on. Give it __len__, or let it go on for as many examples as max_steps needs."
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
        # From here on the weights change: a step that fails now cannot be repeated.
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
            # The duration in it is that of this process, the steps are those of all.
            logs[name] *= (state.global_step - self._first_step) / max(1, state.global_step)
        self._log(logs, state.global_step)

    def _log(self, logs: Mapping[str, Any], step: int) -> None:
        figures = {name: float(value) for name, value in logs.items() if isinstance(value, Real) and name != "step"}
        self._phase.log(figures, step=step)

    def _after_step(self, state: TrainerState, *, between_epochs: bool) -> None:
        """Saves when it is due. Called before the next step, when all that belongs to the last one (its log, an
        evaluation) is done.
        """
        done = state.global_step
        if done <= self._considered:
            return
        self._considered = done
        if self._phase.checkpoint_due(done, state.max_steps):
            if not torch.isfinite(torch.nn.utils.get_total_norm(self._weights.trained(), math.inf)):
                raise PhaseError(
                    f"{self._phase.name}: after step {done} the weights are not finite any more; they are not saved. "
                    "Mend the cause and run it again to go on from the checkpoint before."
                )
            self._loop.between_epochs = between_epochs
            self._phase.checkpoint(self._state, done)
