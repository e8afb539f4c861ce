"""Write greedy completions of batches of token ids, whatever the model's own generation settings say."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteriaList


def padded_left(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and their attention mask, both (rows, width) int64, padded on the left to the longest row.

    Under the mask a row gives the same completion in any batch.
    """
    width = max(map(len, rows))
    ids = [[pad] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@torch.inference_mode()
def generate_greedily(
    model: Any,
    rows: Sequence[Sequence[int]],
    max_new_tokens: int,
    ends: Collection[int],
    pad: int,
    stopping_criteria: StoppingCriteriaList | None = None,
) -> list[list[int]]:
    """Return the tokens that `generate` adds to each row, all of one length: a row that ends early is filled up.

    Args:
        model: A causal model of transformers.
        rows: Token ids without padding.
        max_new_tokens: At most so many for each row.
        ends: Tokens that end a row. Cut the result with `up_to_end`.
        pad: The token to fill rows up with. It is masked, so any token does.
        stopping_criteria: Conditions that end rows earlier.
    """
    ids, mask = padded_left(rows, pad, model.device)
    configuration = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(ends) or None, pad_token_id=pad
    )
    with _plainly_greedy(model):
        sequences = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=configuration,
            stopping_criteria=stopping_criteria,
        )
    return [list(tokens) for tokens in sequences[:, ids.shape[1] :].tolist()]


def up_to_end(tokens: Sequence[int], ends: Collection[int], *, keep_end: bool = False) -> list[int]:
    """Return the tokens before the first end token, and that token too with `keep_end`.

    >>> up_to_end([5, 7, 2, 0, 0], {2}), up_to_end([5, 7, 2, 0, 0], {2}, keep_end=True)
    ([5, 7], [5, 7, 2])
    """
    stop = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[: stop + keep_end])


def end_tokens(*configured: int | Sequence[int] | None) -> set[int]:
    """Return all ids of several settings, such as the model's, the tokenizer's and the chat template's end tokens.

    >>> sorted(end_tokens([2, 5], 2, None))
    [2, 5]
    """
    listed = [entry if isinstance(entry, Sequence) else [entry] for entry in configured]
    return {int(token) for entry in listed for token in entry if token is not None}


@contextmanager
def _plainly_greedy(model: Any) -> Iterator[None]:
    """Hide the model's own generation settings, from which `generate` would take a repetition penalty and the like."""
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
