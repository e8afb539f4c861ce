"""In what numbers a model is trained."""

from typing import Any

import torch

from retraining.base_model import choose_dtype
from retraining.presets import AUTO, Settings

_MULTIPLIES_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""What torch calls the instructions of x86 and ARM for it."""


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 faster than of float32.

    With AVX512-BF16 a step on SmolLM2 took half as long (3.6 s of CPU time instead of 7.2 s, batches of 8 x 100
    tokens); CPUs without such instructions emulate them and are slower than in float32.
    """
    capabilities: dict[str, Any] = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _MULTIPLIES_BFLOAT16)


def precision_of(settings: Settings, device: torch.device) -> tuple[torch.dtype, bool]:
    """The dtype of the frozen weights, and whether matrices are multiplied in bfloat16 whatever they are kept in.

    `auto`: on accelerators both bfloat16 (float32 where they lack it). On CPUs the weights are float32, since that
    costs no time, and the products bfloat16 where the CPU has instructions for them. The adapter is float32 always.
    """
    dtype = choose_dtype(settings.dtype, device)
    if settings.dtype == AUTO and device.type == "cpu":
        return dtype, multiplies_bfloat16()
    return dtype, dtype == torch.bfloat16
