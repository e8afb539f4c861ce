"""Make a language model with random weights on the spot: the real code path in a second, for tests and first tries."""

from collections.abc import Callable, Mapping
from typing import Any


def tiny_llama(configuration: Mapping[str, Any], plant: Callable[[Any], None] | None = None) -> Any:
    """Return a LlamaForCausalLM in evaluation mode with the same weights each time.

    The global random state stays as it is.

    Args:
        configuration: Arguments of `LlamaConfig`; a project keeps its own, since the vocabulary is its own.
        plant: Changes the weights in place, without gradients; `torch` draws from the same seeded state in it.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**configuration)).eval()
        if plant is not None:
            plant(model)
    return model
