"""Compare the logits of the merged model with those of base and adapter, on the same prompts.

Both are computed in float32 whatever dtype their weights are stored in, one layer's weights widened at a time. The only
difference left is the one that the merge makes, and memory stays near that of one model.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer
from torch import Tensor, nn

from lora_retraining.base_model.loading import deprecations_hidden
from lora_retraining.data.chat import prompt_text
from lora_retraining.data.tasks import read_tasks
from lora_retraining.merging.refusals import out_of_memory_reported
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory

PROMPTS = 8
PROMPT_TOKENS = 128
"""A longer prompt is cut at its end."""
POSITIONS = 16
"""Of each prompt the last tokens, whose logits are compared."""


@dataclass(frozen=True)
class LogitComparison:
    """The comparison of two models.

    Attributes:
        difference: Largest |a - b| over largest |b|.
        divergence: Mean of KL(b || a) over the positions, in nats.
        same_choice: Share of positions where both would write the same token.
        tolerance: The difference that rounding alone may make.
        noise: The difference that computing in the stored dtype instead of float32 makes to the merged model; None
            if it is stored in float32.
    """

    difference: float
    divergence: float
    same_choice: float
    tolerance: float
    noise: float | None
    positions: int


def logit_tolerance(dtype: torch.dtype, layers: int, width: int) -> float:
    """Return the `LogitComparison.difference` that rounding alone may make; `width` is the longest sum in a layer.

    Rounding a weight to `dtype` changes it by at most u = eps / 2 of itself, so each of the 2 L parts (attention and
    feed-forward of L layers) adds to the stream something that is off by a part of about u, and a sum of n products in
    float32 adds u32 sqrt(n) to that (Higham 2002, Accuracy and Stability, section 2.8: errors of random sign grow as
    the square root). Taken as parts of the whole stream rather than of one contribution, and as independent, they add
    up to sqrt(2 L) of that; of very many logits the largest is 4 standard deviations off:

        4 sqrt(2 L) (u + u32 sqrt(n))
    """
    unit = torch.finfo(dtype).eps / 2
    arithmetic = torch.finfo(torch.float32).eps / 2 * math.sqrt(width)
    return 4 * math.sqrt(2 * layers) * (unit + arithmetic)


def tolerance_of(config: dict[str, Any], dtype: torch.dtype) -> float:
    """Return the `logit_tolerance` of the model that a config.json describes."""
    width = max(int(config.get(key) or 0) for key in ("hidden_size", "n_embd", "intermediate_size", "n_inner"))
    return logit_tolerance(dtype, int(config.get("num_hidden_layers") or config.get("n_layer") or 1), max(1, width))


def compare_logits(
    merged: ModelFiles,
    reference: ModelFiles,
    adapter: Path,
    prompts: Sequence[Sequence[int]],
    dtype: torch.dtype,
    reference_dtype: torch.dtype,
    device: torch.device,
    progress: Callable[[Sequence[Any]], Iterator[Any]] = iter,
) -> LogitComparison:
    """Compare the merged model with the reference base and the unmerged adapter on top. One is loaded after the other.

    Args:
        merged: The merged model.
        reference: The base that the adapter was trained against.
        adapter: The folder of the adapter.
        prompts: Token ids.
        dtype: Of the merged files.
        reference_dtype: Of the reference's files.
        device: The device that computes.
        progress: Yields the prompts and shows how many are done.

    Raises:
        PhaseError: One of them cannot be loaded, or memory runs out.
    """
    cut = [list(prompt)[:PROMPT_TOKENS] for prompt in prompts[:PROMPTS]]
    with out_of_memory_reported("the merged model was tried on prompts"):
        ours, noisy = _merged_logits(merged, cut, dtype, device, progress)
    free_memory(tell=False)
    with out_of_memory_reported("base and adapter were tried on prompts"):
        theirs = _reference_logits(reference, adapter, cut, reference_dtype, device, progress)
    free_memory(tell=False)
    difference, divergence, same = _compared(ours, theirs)
    noise = _compared(noisy, ours)[0] if noisy is not None else None
    return LogitComparison(difference, divergence, same, tolerance_of(merged.config, dtype), noise, len(ours))


def prompts_of(files: ModelFiles, tasks: Path) -> list[list[int]]:
    """Return the token ids of the first test tasks in a model's chat template, as validation will ask them.

    Raises:
        PhaseError: There is no task, or the tokenizer has no chat template.
    """
    tokenizer = load_tokenizer(files)
    texts = [prompt_text(tokenizer, task.prompt) for task in read_tasks(tasks)[:PROMPTS]]
    if not texts:
        raise PhaseError(f"{tasks} holds no task to try the merged model on. Run preflight again, with test data.")
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def _merged_logits(
    merged: ModelFiles, prompts: list[list[int]], dtype: torch.dtype, device: torch.device, progress: Any
) -> tuple[Tensor, Tensor | None]:
    model = load_model(merged, dtype, device)
    with widened(model):
        exact = logits(model, prompts, progress)
    return exact, None if dtype == torch.float32 else logits(model, prompts, progress)


def _reference_logits(
    reference: ModelFiles,
    adapter: Path,
    prompts: list[list[int]],
    dtype: torch.dtype,
    device: torch.device,
    progress: Any,
) -> Tensor:
    from peft import PeftModel

    base = load_model(reference, dtype, device)
    if getattr(base, "is_quantized", False):
        # What its layers compute with, exactly: kernels for quantised weights round once more on the way.
        base = base.dequantize()
    with deprecations_hidden():
        model = PeftModel.from_pretrained(base, str(adapter)).eval()
    with widened(model):
        return logits(model, prompts, progress)


@contextmanager
def widened(model: nn.Module) -> Iterator[None]:
    """Let every module of a model compute in float32: its own weights are widened while it runs, then put back."""

    def widen(module: nn.Module, _: Any) -> None:
        for parameter in module.parameters(recurse=False):
            if parameter.is_floating_point() and parameter.dtype != torch.float32:
                kept.setdefault(module, []).append((parameter, parameter.data))
                parameter.data = parameter.data.float()

    def narrow(module: nn.Module, _: Any, __: Any) -> None:
        for parameter, data in kept.pop(module, ()):
            parameter.data = data

    kept: dict[nn.Module, list[tuple[nn.Parameter, Tensor]]] = {}
    hooks = [module.register_forward_pre_hook(widen) for module in model.modules()]
    hooks += [module.register_forward_hook(narrow, always_call=True) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def logits(model: Any, prompts: list[list[int]], progress: Callable[[Sequence[Any]], Iterator[Any]] = iter) -> Tensor:
    """Return the logits (positions, vocabulary), float32 on the CPU, of the last POSITIONS tokens of each prompt in
    turn.

    One prompt at a time: a batch would need padding, and its numbers would depend on it.
    """
    rows = []
    for prompt in progress(prompts):
        tokens = torch.tensor([prompt], device=model.device)
        rows.append(
            model(input_ids=tokens, logits_to_keep=POSITIONS, use_cache=False).logits[0, -POSITIONS:].float().cpu()
        )
    return torch.cat(rows)


def _compared(ours: Tensor, theirs: Tensor) -> tuple[float, float, float]:
    """Return the largest difference over the largest logit, the mean Kullback-Leibler divergence, the share of equal
    choices.
    """
    difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    # Position by position: log-probabilities of all at once would need the memory again.
    divergences = [
        float(
            nn.functional.kl_div(a.double().log_softmax(0), b.double().log_softmax(0), reduction="sum", log_target=True)
        )
        for a, b in zip(ours, theirs, strict=True)
    ]
    same = float((ours.argmax(1) == theirs.argmax(1)).float().mean())
    return difference, max(0.0, sum(divergences) / len(divergences)), same
