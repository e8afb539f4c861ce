"""Find base models, and prepare to compute with them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from projects_common.models import loading
from projects_common.models.devices import choose_dtype
from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.tiny import tiny_folder
from lora_retraining.settings import AUTO, Settings

if TYPE_CHECKING:
    import torch

BUILDERS = {**loading.BUILDERS, "tiny": tiny_folder}
"""Names of models that are made on this machine, with the function that returns the folder."""
_MULTIPLIES_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""The names that torch gives to the instructions of x86 and ARM for it."""


def find_model(name: str, *, weights: bool = True) -> ModelFiles:
    """Return the files of `tiny`, `smollm2`, a folder or a model of the Hugging Face Hub; see `loading.find_model`."""
    return loading.find_model(name, weights=weights, builders=BUILDERS)


def multiplies_bfloat16() -> bool:
    """Tell if this CPU multiplies matrices of bfloat16 faster than of float32.

    With AVX512-BF16 a step on SmolLM2 took half as long (3.6 s of CPU time instead of 7.2 s, batches of 8 x 100
    tokens). CPUs without such instructions emulate them and are slower than in float32.
    """
    import torch

    capabilities: dict[str, Any] = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _MULTIPLIES_BFLOAT16)


def precision_of(settings: Settings, device: "torch.device") -> "tuple[torch.dtype, bool]":
    """Choose the dtype of the frozen weights, and decide if matrices are multiplied in bfloat16 (autocast).

    `auto` means bfloat16 for both on accelerators, or float32 where they lack it. On CPUs it means float32 weights,
    which cost no time, and products in bfloat16 if the CPU has instructions for them. The adapter is always float32.
    """
    import torch

    dtype = choose_dtype(settings.dtype, device)
    if settings.dtype == AUTO and device.type == "cpu":
        return dtype, multiplies_bfloat16()
    return dtype, dtype == torch.bfloat16


@contextmanager
def deprecations_hidden() -> Iterator[None]:
    """Hide a warning that users can do nothing about.

    transformers renames gradient checkpointing; peft, and transformers itself before that, know the old name only.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield
