"""Save and restore the state of a Hugging Face `Trainer`, so that a resumed training equals an uninterrupted one.

Written here because the Trainer's own checkpoints lose the losses since the last log, are written while the training
waits, and are not verified when they are read.
"""

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import Trainer, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.integrations.ddp import average

# The summed loss since the last log, the step of that log, the summed loss of all logs. The Trainer keeps them only in
# these private attributes, and its own checkpoints lose them. If one is missing in another version of transformers, the
# first loss after a resume is the mean of fewer steps; nothing else changes.
_LOSS_SINCE_LOG = "_tr_loss"
_LOSSES = (_LOSS_SINCE_LOG, "_globalstep_last_logged", "_total_loss_scalar")
_FIRST_STEP = "_initial_global_step"


class ModelWeights:
    """Save and load the weights of a model in place.

    Of a model with adapters (peft) only the trained weights and the buffers are saved. The script loads the frozen base
    model itself. A fingerprint of the base is saved, so that an adapter is not loaded into another base model. Of other
    models all weights are saved.

    Args:
        model: A `torch.nn.Module`.
    """

    def __init__(self, model: Any) -> None:
        tensors: dict[str, torch.Tensor] = model.state_dict(keep_vars=True)
        whole = not getattr(model, "peft_config", None)
        buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)}
        self._live = {
            name: tensor for name, tensor in tensors.items() if whole or tensor.requires_grad or name in buffers
        }
        self._base = _fingerprint({name: tensor for name, tensor in tensors.items() if name not in self._live})

    def trained(self) -> Iterator[torch.Tensor]:
        """Yield the tensors that training changes, detached, in any shape, dtype and device."""
        return (tensor.detach() for tensor in self._live.values() if tensor.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """Return the saved weights (not copied) and the fingerprint of the base model."""
        return {"base": self._base, "tensors": {name: tensor.detach() for name, tensor in self._live.items()}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load weights in place.

        Raises:
            PhaseError: The weights are those of another model, or of an adapter for another base model.
        """
        tensors = saved["tensors"]
        if other := sorted(set(tensors) ^ set(self._live)):
            raise PhaseError(
                f"The checkpoint is of another model: {len(other)} weights, such as {other[0]}, are only in one of "
                "them. Load the model that it was saved from, or start from the beginning."
            )
        for name, live in self._live.items():
            if (live.shape, live.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise PhaseError(
                    f"The checkpoint is of another model: {name} has shape {tuple(tensors[name].shape)} and dtype "
                    f"{tensors[name].dtype} in the checkpoint, {tuple(live.shape)} and {live.dtype} in the script. "
                    "Load the model that it was saved from, or start from the beginning."
                )
        if saved["base"] != self._base:
            raise PhaseError(
                "The checkpoint is of an adapter for another base model: the frozen weights differ. Load the base "
                "model that it was trained on, or start from the beginning."
            )
        with torch.no_grad():
            for name, live in self._live.items():
                live.copy_(tensors[name])


class LoopState:
    """The state of the loop: step, losses since the last log, batch size, random state, states of other callbacks."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.epoch_random: dict[str, Any] = {}
        """Random state at the beginning of the epoch, from which the order of its examples is drawn."""
        self.between_epochs = False
        self.of_several = False
        """True when the loaded state is of several processes. Their random states within an epoch are not saved."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors."""
        trainer = self._trainer
        losses = {name: getattr(trainer, name, None) for name in _LOSSES}
        return {
            # The Trainer reads it as JSON. A value that JSON cannot hold must raise here, not at the resume.
            "trainer_state": json.loads(json.dumps(asdict(trainer.state), default=float)),
            "batch_size": trainer.args.per_device_train_batch_size,
            "accumulation_steps": trainer.args.gradient_accumulation_steps,
            "processes": trainer.args.world_size,
            "losses": {} if None in losses.values() else losses | {_LOSS_SINCE_LOG: self.loss_since_log()},
            "current_flos": trainer.current_flos,
            "callbacks": [[type(callback).__name__, callback.state()] for callback in self._stateful()],
            "epoch_random": self.epoch_random,
            "between_epochs": self.between_epochs,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore the state. To be called when training begins: only then does the Trainer have its counters."""
        trainer = self._trainer
        for name, value in saved["losses"].items():
            old = getattr(trainer, name, None)
            setattr(trainer, name, torch.full_like(old, value) if isinstance(old, torch.Tensor) else value)
        if saved["losses"] and hasattr(trainer, _FIRST_STEP):
            setattr(trainer, _FIRST_STEP, 0)  # The restored losses are of all steps, so their mean must be too.
        trainer.current_flos = saved["current_flos"]
        states = list(saved["callbacks"])
        for callback in self._stateful():
            matching = next((state for state in states if state[0] == type(callback).__name__), None)
            if matching is not None:
                states.remove(matching)
                for name, value in matching[1]["attributes"].items():
                    setattr(callback, name, value)
        self.epoch_random, self.between_epochs = saved["epoch_random"], saved["between_epochs"]
        self.of_several = saved.get("processes", 1) > 1

    def loss_since_log(self) -> float:
        """Return the summed loss of the batches since the last log, 0 when the Trainer does not have it."""
        return float(getattr(self._trainer, _LOSS_SINCE_LOG, 0.0))

    def average_loss(self) -> None:
        """Replace that loss by its mean over all processes. A collective call."""
        loss = getattr(self._trainer, _LOSS_SINCE_LOG, None)
        if isinstance(loss, torch.Tensor):
            average(loss)

    def _stateful(self) -> list[Any]:
        return [
            callback for callback in self._trainer.callback_handler.callbacks if isinstance(callback, ExportableState)
        ]


def set_batch_size(trainer: Trainer, batch_size: int, accumulation_steps: int) -> None:
    """Set the examples per device and backward pass, and the backward passes per step."""
    trainer.args.per_device_train_batch_size = batch_size
    trainer.args.gradient_accumulation_steps = accumulation_steps
    # A copy that `Trainer.__init__` makes. The only other way to change it is a new Trainer.
    trainer._train_batch_size = trainer.args.train_batch_size


def restore_batch_size(trainer: Trainer, saved: Mapping[str, Any], phase: str) -> None:
    """Set the batch size that `LoopState.state_dict` saved.

    Raises:
        PhaseError: The number of processes has changed and a step would have another number of examples.
    """
    args, processes = trainer.args, saved.get("processes", 1)
    if processes == args.world_size:
        set_batch_size(trainer, saved["batch_size"], saved["accumulation_steps"])
        return
    before = saved["batch_size"] * saved["accumulation_steps"] * processes
    now = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if before != now:
        raise PhaseError(
            f"{phase}: its steps had {before} examples in {processes} processes, and would now have {now} in "
            f"{args.world_size}. Set batch size and accumulation so that a step has {before} examples, or use "
            f"{processes} processes again."
        )


def write_resume_folder(trainer: Trainer, saved: Mapping[str, Any], folder: Path) -> None:
    """Write a folder for the Trainer's `resume_from_checkpoint` from the result of `LoopState.state_dict`.

    The Trainer reads from it the step to start at and the batches to skip. The folder contains no weights, or the
    present weights of the adapter. The saved weights are restored later in memory, together with the optimizer.
    """
    state = TrainerState(**saved["trainer_state"])
    state.train_batch_size = trainer.args.train_batch_size
    state.save_to_json(str(folder / TRAINER_STATE_NAME))
    model: Any = trainer.model
    peft = sys.modules.get("peft")
    if peft is not None and isinstance(model, peft.PeftModel | peft.PeftMixedModel):
        name = model.active_adapters[0]
        adapter = peft.get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
        save_file(
            {name: tensor.contiguous() for name, tensor in adapter.items()},
            folder / peft.utils.SAFETENSORS_WEIGHTS_NAME,
        )
        return
    # The index names every weight, so that the Trainer misses none, and refers to one empty file.
    empty = "nothing.safetensors"
    save_file({}, folder / empty)
    index = {"metadata": {}, "weight_map": dict.fromkeys(model.state_dict(), empty)}
    (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")


def _fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest names, shapes, dtypes and about 64 values of each tensor. Digesting all values would take seconds."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        flat = tensor.detach().reshape(-1)
        values = flat[:: max(1, flat.numel() // 64)].double().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode() + values.tobytes())
    return digest.hexdigest() if tensors else ""
