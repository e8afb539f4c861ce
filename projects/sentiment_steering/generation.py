"""Completions of openings, in left-padded batches with the key-value cache, cut at token positions."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from projects.sentiment_steering.models import LanguageModel
from projects.sentiment_steering.steering import ActivationChange, Intervention, steer


@dataclass(frozen=True)
class Completions:
    """Token ids of openings and of what the model wrote after each, without padding or end token."""

    openings: list[list[int]]
    written: list[list[int]]
    change: ActivationChange

    def texts(self, language_model: LanguageModel) -> list[str]:
        """What was written, as text."""
        return list(language_model.tokenizer.batch_decode(self.written, skip_special_tokens=True))


@torch.inference_mode()
def complete(
    language_model: LanguageModel,
    openings: Sequence[str],
    new_tokens: int,
    layer: int = 0,
    intervention: Intervention | None = None,
    batch_size: int = 16,
) -> Completions:
    """Greedy completions of at most `new_tokens` tokens each, steered at a layer when an intervention is given."""
    model, tokenizer = language_model.model, language_model.tokenizer
    tokens = tokenizer(list(openings))["input_ids"]
    ends = _end_tokens(language_model)
    written: list[list[int]] = []
    steering = (
        nullcontext(ActivationChange())
        if intervention is None
        else steer(language_model.blocks[layer], intervention.to(language_model.device))
    )
    with steering as change:
        for start in range(0, len(tokens), batch_size):
            part = {"input_ids": tokens[start : start + batch_size]}
            batch = tokenizer.pad(part, padding_side="left", return_tensors="pt").to(language_model.device)
            sequences = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                use_cache=True,
                eos_token_id=sorted(ends) or None,
                pad_token_id=tokenizer.pad_token_id,
            )
            prompt_length = batch["input_ids"].shape[1]
            written += [cut_completion(row, prompt_length, ends) for row in sequences.tolist()]
    return Completions(tokens, written, change)


def cut_completion(sequence: list[int], prompt_length: int, ends: set[int]) -> list[int]:
    """The tokens after the prompt, up to the first end token."""
    completion = sequence[prompt_length:]
    stop = next((index for index, token in enumerate(completion) if token in ends), len(completion))
    return completion[:stop]


def _end_tokens(language_model: LanguageModel) -> set[int]:
    configured = language_model.model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return {int(token) for token in (*listed, language_model.tokenizer.eos_token_id) if token is not None}
