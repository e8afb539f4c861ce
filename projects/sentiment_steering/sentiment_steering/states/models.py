"""Load the language model of a preset, and find its layers."""

from dataclasses import dataclass
from typing import Any

import torch
from projects_common.models.devices import choose_device
from projects_common.models.loading import find_model, load_tokenizer
from projects_common.models.loading import load_model as load_causal_model
from torch import nn

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.threads import leave_busy_cores_alone
from sentiment_steering.settings import HUB_MODELS, MODELS
from sentiment_steering.states.tiny import tiny_model, tiny_tokenizer


@dataclass(frozen=True)
class LanguageModel:
    """Hold a causal model in evaluation mode on its device, with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device

    @property
    def width(self) -> int:
        """Numbers of a hidden state."""
        return int(self.model.config.hidden_size)

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers of the decoder, in order. Raises PhaseError when the architecture shows none."""
        count = int(self.model.config.num_hidden_layers)
        for module in self.model.modules():
            if isinstance(module, nn.ModuleList) and len(module) == count:
                return module
        raise PhaseError(f"{type(self.model).__name__} has no list of {count} layers, so none can be read or steered.")


def load_model(preset: str, device: str = "auto") -> LanguageModel:
    """Return the model of a preset, a Hub id or a local folder.

    Computes in float32 on a CPU, else in the dtype that the weights were saved in.

    Raises:
        PhaseError: the model cannot be found or loaded, or the device does not exist.
    """
    chosen = choose_device(device)
    if preset == "tiny":
        tokenizer = tiny_tokenizer()
        return LanguageModel(tiny_model(tokenizer).to(chosen), tokenizer, chosen)
    try:
        files = find_model(HUB_MODELS.get(preset, preset))
        tokenizer = load_tokenizer(files)
        model = load_causal_model(files, dtype="float32" if chosen.type == "cpu" else "saved", device=chosen)
    except PhaseError as error:
        raise PhaseError(
            f"{error} Presets: {MODELS}; else give a Hub id or a folder with config.json, a tokenizer and "
            "*.safetensors."
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chosen.type == "cpu":
        leave_busy_cores_alone()
    return LanguageModel(model, tokenizer, chosen)
