"""Estimate the memory of training an adapter, part by part, before anything is loaded.

The approach is that of Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1): what each operation of a layer keeps
for the backward pass is added up. Their equation 2, s b h (34 + 5 a s / h) bytes, is for a GPT whose weights are all
trained. Here the layer is Llama's (RMSNorm, rotary positions, fused attention, gated feed-forward part), frozen, with
LoRA at its seven projections: a frozen projection keeps no input, its adapter does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from projects_common.models.headers import TensorHeader, parameter_count

from lora_retraining.settings import PROJECTIONS, Settings

CPU_RUNTIME = 600 * 2**20
"""Bytes that a process with torch, transformers, peft and MLflow takes before it holds a model (measured: 563 MiB)."""
GPU_RUNTIME = 2**30
"""The same on a GPU: CUDA's context, the kernels and the workspaces of cuBLAS."""
GPU_FRAGMENTATION, CPU_FRAGMENTATION = 0.1, 0.35
"""Shares of what is computed that allocators lose between blocks. On a CPU it is glibc that keeps what was freed:
measured 0.2 to 0.9 on SmolLM2, least in the Trainer, and nothing with MALLOC_MMAP_THRESHOLD_=262144.
"""
MERGE_FACTOR = 1.3
"""Times the size of the model; merging stays within it."""


@dataclass(frozen=True)
class Architecture:
    """Sizes of a model by its config.json, in numbers, not bytes."""

    hidden: int
    intermediate: int
    layers: int
    attention: int
    """Heads times the size of a head."""
    vocabulary: int


@dataclass(frozen=True)
class Precision:
    """`weight_bytes` of a frozen weight, `product_bytes` of a number that matrices are multiplied in: 2 or 4 each."""

    weight_bytes: int
    product_bytes: int
    cuda: bool


def architecture(config: Mapping[str, Any]) -> Architecture | None:
    """Read the sizes; None for a config.json that names them otherwise than Llama, Qwen, Mistral and Gemma do."""
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Architecture(
            hidden=hidden,
            intermediate=int(config["intermediate_size"]),
            layers=int(config["num_hidden_layers"]),
            attention=heads * int(config.get("head_dim") or hidden // heads),
            vocabulary=int(config["vocab_size"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def adapter_parameters(headers: Sequence[TensorHeader], rank: int) -> int:
    """Count the numbers in A (rank x in) and B (out x rank) at every projection; if none of the seven is there, at
    every matrix that is no embedding.
    """
    matrices = [header for header in headers if len(header.shape) == 2]
    chosen = [header for header in matrices if header.name.removesuffix(".weight").rpartition(".")[2] in PROJECTIONS]
    if not chosen:
        chosen = [header for header in matrices if "embed" not in header.name and "lm_head" not in header.name]
    return sum(rank * sum(header.shape) for header in chosen)


def layer_bytes(sizes: Architecture, settings: Settings, length: int, use: Precision) -> int:
    """Return the bytes that one layer keeps for the backward pass, for each token.

    Both norms keep their input in float32. Attention keeps q, k and v, the latter two as wide as q, its output and a
    row of the mask; the feed-forward part gate, its activation and up. Each adapter keeps its input and A times it, and
    dropout what it dropped: a byte a number on a GPU, a float32 on a CPU. Adapters that share an input share what they
    keep of it, unless dropout or a cast to bfloat16 gives each its own.
    """
    h, a, i = sizes.hidden, sizes.attention, sizes.intermediate
    dropout = settings.dropout > 0
    inputs = 5 * h + a + i if dropout or use.product_bytes < 4 else 2 * h + i
    kept = use.product_bytes * (4 * a + 3 * i + inputs + len(PROJECTIONS) * settings.rank + length)
    dropped = (1 if use.cuda else 4) * (5 * h + a + i) if dropout else 0
    return kept + dropped + 4 * 2 * h


def training_memory(
    sizes: Architecture, headers: Sequence[TensorHeader], settings: Settings, length: int, use: Precision
) -> dict[str, int]:
    """Return the bytes by part at the peak of training, on the device. `length` is the longest row of a batch in
    tokens.

    Adapters, their gradients and Adam's two moments are float32. At the peak the logits are there three times in
    float32: as log-probabilities, and as two gradients.
    """
    trained = adapter_parameters(headers, settings.rank)
    count = parameter_count(headers)
    tokens = settings.batch_size * length
    layer = tokens * layer_bytes(sizes, settings, length, use)
    checkpointed = sizes.layers * tokens * sizes.hidden * use.weight_bytes + layer
    parts = {
        "weights": count * use.weight_bytes,
        "adapter": 4 * trained,
        "gradients": 4 * trained,
        "Adam's moments": 8 * trained,
        "activations": checkpointed if settings.gradient_checkpointing else sizes.layers * layer,
        "logits": 3 * 4 * tokens * sizes.vocabulary,
    }
    if use.product_bytes < use.weight_bytes and not settings.gradient_checkpointing:
        # Autocast keeps a narrower copy of every weight.
        parts["weights in bfloat16"] = count * use.product_bytes
    if not use.cuda:
        parts["checkpoint being saved"] = 12 * trained
    parts["fragmentation"] = int((GPU_FRAGMENTATION if use.cuda else CPU_FRAGMENTATION) * sum(parts.values()))
    parts["runtime"] = GPU_RUNTIME if use.cuda else CPU_RUNTIME
    return parts


def merge_memory(headers: Sequence[TensorHeader], itemsize: int) -> int:
    """Return the bytes that merging takes in main memory at most."""
    return int(MERGE_FACTOR * parameter_count(headers) * itemsize)


def in_words(parts: Mapping[str, int]) -> str:
    """Return `9.6 GiB (weights 7.2, logits 1.2, ...)`, largest part first."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    listed = ", ".join(f"{name} {size / 2**30:.2g}" for name, size in ordered if size >= 0.005 * 2**30)
    return f"{sum(parts.values()) / 2**30:.3g} GiB ({listed})"
