"""The language models behind the presets, and where their layers are."""

from dataclasses import dataclass
from typing import Any

import torch
from projects_common.models.smollm2 import smollm2_folder
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import logging as transformers_logging

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.threads import leave_busy_cores_alone
from projects.sentiment_steering.tiny import tiny_model, tiny_tokenizer

HUB_PRESETS = {
    "gpt2": "openai-community/gpt2",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
}
"""Presets that are a model of the Hugging Face Hub. Any other Hub id or a local folder is taken as given."""


@dataclass(frozen=True)
class LanguageModel:
    """A causal model in evaluation mode on its device, with its tokenizer."""

    model: Any
    tokenizer: Any
    device: torch.device

    @property
    def width(self) -> int:
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
    """The model of a preset (`tiny`, `smollm2`, `gpt2`, `qwen2.5-3b`, `qwen2.5-7b`), Hub id or local folder.

    Weights are read as safetensors only. float32 on a CPU, bfloat16 on an accelerator for models that were saved so.
    Raises PhaseError when the model cannot be found or the device does not exist.
    """
    chosen = choose_device(device)
    if preset == "tiny":
        tokenizer = tiny_tokenizer()
        return LanguageModel(tiny_model(tokenizer).to(chosen), tokenizer, chosen)
    source = str(smollm2_folder()) if preset == "smollm2" else HUB_PRESETS.get(preset, preset)
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32 if chosen.type == "cpu" else "auto", use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise PhaseError(
            f"the model {source!r} cannot be loaded: {' '.join(str(error).split())[:400]} "
            f"Presets: tiny, smollm2, {', '.join(HUB_PRESETS)}; else give a Hub id or a folder with config.json, "
            "a tokenizer and *.safetensors."
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if chosen.type == "cpu":
        leave_busy_cores_alone()
    return LanguageModel(model.to(chosen).eval(), tokenizer, chosen)


def choose_device(name: str) -> torch.device:
    """`auto` is the first accelerator, else the CPU. Raises PhaseError for a device that is not there."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        return accelerator or torch.device("cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).partition("\n")[0]
        raise PhaseError(f"device {name!r} cannot be used: {first_line} Pass device=auto or device=cpu.") from None
