"""What a Hugging Face `Trainer` must be given back to go on as if it had never stopped."""

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

# The summed loss since the last log, the step of that log, the summed loss of all logs. The Trainer keeps them nowhere
# else, and its own checkpoints lose them. Without one of them the first loss after a resume is the mean of fewer steps,
# and that is all.
_LOSS_SINCE_LOG = "_tr_loss"
_LOSSES = (_LOSS_SINCE_LOG, "_globalstep_last_logged", "_total_loss_scalar")
_FIRST_STEP = "_initial_global_step"


class ModelWeights:
    """The weights of a model as something to save and load in place.

    With adapters (peft) only what is trained, and the buffers: the frozen base comes from where the script has it, and
    its fingerprint is kept, so that an adapter is not put on another base. Else the whole model.
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
        """The tensors that training changes."""
        return (tensor.detach() for tensor in self._live.values() if tensor.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        return {"base": self._base, "tensors": {name: tensor.detach() for name, tensor in self._live.items()}}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Raises PhaseError when the weights are of another model, or of an adapter for another base model."""
        tensors = saved["tensors"]
        if other := sorted(set(tensors) ^ set(self._live)):
            raise PhaseError(
                f"The checkpoint is of another model: {len(other)} weights, such as {other[0]}, do not match."
            )
        for name, live in self._live.items():
            if (live.shape, live.dtype) != (tensors[name].shape, tensors[name].dtype):
                raise PhaseError(
                    f"The checkpoint is of another model: {name} is {tuple(tensors[name].shape)} of "
                    f"{tensors[name].dtype} there and {tuple(live.shape)} of {live.dtype} here."
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
    """What the loop itself keeps: how far it is, the losses since its last log, the batch size, other callbacks."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self.epoch_random: dict[str, Any] = {}
        """Random state at the beginning of the epoch, from which the order of its examples is drawn."""
        self.between_epochs = False
        self.of_several = False
        """Whether what was loaded is of several processes: at a step their random states are none of one process."""

    def state_dict(self) -> dict[str, Any]:
        trainer = self._trainer
        losses = {name: getattr(trainer, name, None) for name in _LOSSES}
        return {
            # Through JSON, since that is how the Trainer reads it; what JSON cannot hold is told here and not then.
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
        """To be called when training begins: only then are the Trainer's own counters set up."""
        trainer = self._trainer
        for name, value in saved["losses"].items():
            old = getattr(trainer, name, None)
            setattr(trainer, name, torch.full_like(old, value) if isinstance(old, torch.Tensor) else value)
        if saved["losses"] and hasattr(trainer, _FIRST_STEP):
            setattr(trainer, _FIRST_STEP, 0)  # The mean loss is then that of all steps, as are the losses.
        trainer.current_flos = saved["current_flos"]
        states = list(saved["callbacks"])
        for callback in self._stateful():
            mine = next((state for state in states if state[0] == type(callback).__name__), None)
            if mine is not None:
                states.remove(mine)
                for name, value in mine[1]["attributes"].items():
                    setattr(callback, name, value)
        self.epoch_random, self.between_epochs = saved["epoch_random"], saved["between_epochs"]
        self.of_several = saved.get("processes", 1) > 1

    def loss_since_log(self) -> float:
        """The summed loss of the batches since the last log, 0 where the Trainer does not show it."""
        return float(getattr(self._trainer, _LOSS_SINCE_LOG, 0.0))

    def average_loss(self) -> None:
        """Makes that loss the mean over all processes, in each of them."""
        loss = getattr(self._trainer, _LOSS_SINCE_LOG, None)
        if isinstance(loss, torch.Tensor):
            average(loss)

    def _stateful(self) -> list[Any]:
        return [
            callback for callback in self._trainer.callback_handler.callbacks if isinstance(callback, ExportableState)
        ]


def set_batch_size(trainer: Trainer, batch_size: int, accumulation_steps: int) -> None:
    """Changes the examples per device and backward pass, and the passes per step."""
    trainer.args.per_device_train_batch_size = batch_size
    trainer.args.gradient_accumulation_steps = accumulation_steps
    # A copy that `Trainer.__init__` makes; there is no other way to change it than a new Trainer.
    trainer._train_batch_size = trainer.args.train_batch_size


def go_on_with_batch(trainer: Trainer, saved: Mapping[str, Any], phase: str) -> None:
    """Takes the batch size of what `LoopState.state_dict` gave. Raises PhaseError when other processes are there now
    than then and a step would see another number of examples.
    """
    args, processes = trainer.args, saved.get("processes", 1)
    if processes == args.world_size:
        set_batch_size(trainer, saved["batch_size"], saved["accumulation_steps"])
        return
    before = saved["batch_size"] * saved["accumulation_steps"] * processes
    now = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if before != now:
        raise PhaseError(
            f"{phase}: its steps had {before} examples, in {processes} processes, and would now have {now}, in "
            f"{args.world_size}. Set batch size and accumulation so that both are the same, or take {processes} "
            "processes again."
        )


def write_resume_folder(trainer: Trainer, saved: Mapping[str, Any], folder: Path) -> None:
    """A folder for `resume_from_checkpoint`, from what `LoopState.state_dict` gave: the Trainer reads from it how far
    it is and which batches to pass over. The weights in it are none or those that are there now, for the real ones
    are put in place later, with the optimizer and without a detour over files.
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
    # An index that names every weight, so that none is missed, and one file of them all in which none is.
    nothing = "nothing.safetensors"
    save_file({}, folder / nothing)
    index = {"metadata": {}, "weight_map": dict.fromkeys(model.state_dict(), nothing)}
    (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index), encoding="utf-8")


def _fingerprint(tensors: Mapping[str, torch.Tensor]) -> str:
    """Digest of the names, shapes, dtypes and about 64 values of each tensor; hashing all would take seconds."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        flat = tensor.detach().reshape(-1)
        values = flat[:: max(1, flat.numel() // 64)].double().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode() + values.tobytes())
    return digest.hexdigest() if tensors else ""
