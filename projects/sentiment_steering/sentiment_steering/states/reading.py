"""Read hidden states of texts in padded batches, at the layers where steering later takes hold."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from projects_common.loops import Progress, unshown
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from sentiment_steering.settings import Pooling
from sentiment_steering.states.models import LanguageModel


def collect_states(
    language_model: LanguageModel,
    texts: Sequence[str],
    layers: Sequence[int],
    pooling: Pooling = "last",
    batch_size: int = 16,
    progress: Progress = unshown,
) -> Tensor:
    """Return one state for each layer and text: float32, shape (len(layers), len(texts), width), on the CPU.

    A layer's states are its output. Batches are padded on the right: no token attends to what follows it, and positions
    count from the first token, so a text gives the same states in any batch. Texts of like length share a batch.

    Args:
        language_model: The model that reads.
        texts: In any order and of any length.
        layers: Numbers from 0.
        pooling: `last` takes the state of the last token, `mean` the mean over all tokens but the first, whose state is
            an attention sink many times longer than the others. A text of one token is that token.
        batch_size: Texts at once.
        progress: Shows how many batches are read.

    Raises:
        PhaseError: a layer does not exist, or a text has no tokens.
    """
    check_layers(language_model, layers)
    tokens = language_model.tokenizer(list(texts))["input_ids"]
    if empty := [text for text, ids in zip(texts, tokens, strict=True) if not ids]:
        raise PhaseError(f"the text {empty[0]!r} has no tokens. Take it out of the prompts.")
    states = torch.empty(len(layers), len(texts), language_model.width)
    order = sorted(range(len(texts)), key=lambda index: (len(tokens[index]), index))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    for batch in progress(batches, total=len(batches), description="reading sentences"):
        states[:, batch] = _batch_states(language_model, [tokens[index] for index in batch], layers, pooling)
    return states


def check_layers(language_model: LanguageModel, layers: Sequence[int]) -> None:
    """Raise PhaseError for a layer that the model does not have."""
    count = len(language_model.blocks)
    if wrong := [layer for layer in layers if not 0 <= layer < count]:
        raise PhaseError(f"layer={wrong[0]}: the model has layers 0 to {count - 1}.")


@torch.inference_mode()
def _batch_states(model: LanguageModel, tokens: list[list[int]], layers: Sequence[int], pooling: Pooling) -> Tensor:
    batch = model.tokenizer.pad({"input_ids": tokens}, padding_side="right", return_tensors="pt").to(model.device)
    mask = batch["attention_mask"]
    pooled: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[..., None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            pooled[layer] = _pool(hidden.float(), mask, pooling).cpu()

        return hook

    handles = [model.blocks[layer].register_forward_hook(keep(layer)) for layer in layers]
    try:
        # Without the output layer, a fifth of a small model's work.
        model.model.base_model(input_ids=batch["input_ids"], attention_mask=mask, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([pooled[layer] for layer in layers])


def _pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    lengths = mask.sum(1)
    if pooling == "last":
        return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]
    counted = mask.clone()
    counted[lengths > 1, 0] = 0
    return (hidden * counted[:, :, None]).sum(1) / counted.sum(1, keepdim=True)
