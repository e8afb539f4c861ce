"""Estimate the duration and the cost of a training before it begins."""

import math
import time
from collections.abc import Sequence

import torch
from projects_common.models.headers import TensorHeader, parameter_count

from lora_retraining.checks.checklist import Check
from lora_retraining.checks.data import Lengths
from lora_retraining.checks.memory import Architecture, adapter_parameters
from lora_retraining.settings import Settings
from mlflow_plugin.format import describe_cost, describe_duration
from mlflow_plugin.machine.hardware import detect_hardware
from mlflow_plugin.machine.prices import cost_usd, price_per_hour

EFFICIENCY = {"cpu": 0.13, "cuda": 0.4}
"""Share of the speed of a bare matrix product that a training reaches: measured with SmolLM2 on two cores, where what
is no product weighs most; on GPUs Chowdhery et al. 2022 (arXiv:2204.02311, table 3) report 0.21 to 0.46 of the peak.
"""
_MEASURED_SECONDS = 0.2
_MOST_TOKENS = 4096


def training_operations(headers: Sequence[TensorHeader], settings: Settings, tokens: float) -> float:
    """Return the floating-point operations of a training on `tokens` tokens an epoch, over all epochs.

    The forward pass takes 2 for each weight and token, the backward pass 4 (Kaplan et al. 2020, arXiv:2001.08361,
    section 2.1). Of these, 2 are for a weight's own gradient, which frozen weights do not have. Gradient checkpointing
    repeats the forward pass.
    """
    frozen, trained = parameter_count(headers), adapter_parameters(headers, settings.rank)
    again = 2 if settings.gradient_checkpointing else 0
    return tokens * settings.epochs * ((4 + again) * frozen + (6 + again) * trained)


@torch.inference_mode()
def product_speed(sizes: Architecture, tokens: int, dtype: torch.dtype, device: torch.device) -> float:
    """Measure the feed-forward part's matrix product, in floating-point operations a second; return the best of
    several.
    """
    rows = max(1, min(tokens, _MOST_TOKENS))
    left = torch.ones(rows, sizes.hidden, dtype=dtype, device=device)
    right = torch.ones(sizes.hidden, sizes.intermediate, dtype=dtype, device=device)
    best, end = math.inf, time.perf_counter() + _MEASURED_SECONDS
    while True:
        began = time.perf_counter()
        product = left @ right
        product[0, 0].item()  # Waits for an accelerator.
        now = time.perf_counter()
        best = min(best, now - began)
        if now > end:
            return 2 * rows * sizes.hidden * sizes.intermediate / best


def estimated_seconds(
    sizes: Architecture,
    headers: Sequence[TensorHeader],
    settings: Settings,
    lengths: Lengths,
    rows: int,
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Return the seconds that training on `rows` rows will take on this machine. Products are computed in `dtype`."""
    length = min(lengths.tokens / max(1, lengths.counted), settings.max_length)
    speed = product_speed(sizes, int(settings.batch_size * length), dtype, device)
    efficiency = EFFICIENCY.get(device.type, EFFICIENCY["cuda"])
    return training_operations(headers, settings, rows * length) / (efficiency * speed)


def check_cost(seconds: float | None) -> tuple[Check, dict[str, float]]:
    """Return the line of the checklist and the metrics: the seconds and dollars that the training will take here."""
    if seconds is None:
        return Check("cost", "skip", "sizes of the model or lengths of the rows are not known"), {}
    usd = cost_usd(seconds, price_per_hour(detect_hardware()))
    seen = f"training takes about {describe_duration(seconds)} and {describe_cost(usd)} on this machine"
    return Check("cost", "pass", seen), {"estimated_training_seconds": seconds, "estimated_training_usd": usd}
