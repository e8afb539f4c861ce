"""Choose the device and the number format that a model computes in."""

from typing import TYPE_CHECKING

from mlflow_plugin.errors import UsageError

if TYPE_CHECKING:
    import torch


def choose_device(name: "torch.device | str") -> "torch.device":
    """Return the device of a name; `auto` is the first accelerator, else the CPU.

    Raises:
        UsageError: the machine has no such device.
    """
    import torch

    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used: {first_line} Pass device=auto or device=cpu.") from None


def choose_dtype(name: "torch.dtype | str", device: "torch.device") -> "torch.dtype":
    """Return the dtype of a name; `auto` is bfloat16 where the device multiplies it fast, else float32.

    CPUs and old GPUs multiply bfloat16 slowly.

    Raises:
        UsageError: the name is not one of auto, bfloat16, float32.
    """
    import torch

    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if isinstance(name, torch.dtype):
        return name
    if name in known:
        return known[name]
    if name != "auto":
        raise UsageError(f"dtype {name!r} is not one of auto, {', '.join(known)}.")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32
    return torch.float32 if device.type == "cpu" else torch.bfloat16
