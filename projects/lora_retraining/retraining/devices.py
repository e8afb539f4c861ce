"""Where a model is computed, and with what numbers."""

import torch

from mlflow_plugin.errors import UsageError
from retraining.presets import AUTO, Settings


def device_of(settings: Settings) -> torch.device:
    """The device to compute on: the first accelerator that is there, else the CPU, unless one is named.

    Raises UsageError for one that this machine does not have.
    """
    found = torch.accelerator.current_accelerator(check_available=True)
    if settings.device == AUTO:
        return found or torch.device("cpu")
    wanted = torch.device(settings.device)
    if wanted.type == "cpu":
        return wanted
    if found is None or found.type != wanted.type or (wanted.index or 0) >= torch.accelerator.device_count():
        there = "none" if found is None else f"{torch.accelerator.device_count()} of {found.type}"
        raise UsageError(f"device = {settings.device!r} is not there; accelerators that torch finds: {there}.")
    return wanted


def dtype_of(settings: Settings, device: torch.device) -> torch.dtype:
    """The dtype to compute in: bfloat16 where the hardware multiplies it, float32 where it would be slower.

    On CPUs that is float32. Even those with bfloat16 instructions gain nothing from them at the sizes that are trained
    there (measured: benchmarks/lora_training.py).
    """
    if settings.dtype != AUTO:
        return torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32
    return torch.float32 if device.type == "cpu" else torch.bfloat16
