"""Complete openings greedily, steered or not; completions are cut at token positions."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from projects_common.models.generation import end_tokens, generate_greedily, up_to_end

from sentiment_steering.intervention.hook import ActivationChange, Intervention, steer
from sentiment_steering.states.models import LanguageModel


@dataclass(frozen=True)
class Completions:
    """Hold token ids of openings and of their completions, without padding or end token, and the hook's change."""

    openings: list[list[int]]
    written: list[list[int]]
    change: ActivationChange

    def texts(self, language_model: LanguageModel) -> list[str]:
        """Return the completions as text."""
        return list(language_model.tokenizer.batch_decode(self.written, skip_special_tokens=True))


def complete(
    language_model: LanguageModel,
    openings: Sequence[str],
    new_tokens: int,
    layer: int = 0,
    intervention: Intervention | None = None,
    batch_size: int = 16,
) -> Completions:
    """Return greedy completions of at most `new_tokens` tokens each, steered at a layer by an intervention."""
    model, tokenizer = language_model.model, language_model.tokenizer
    tokens = tokenizer(list(openings))["input_ids"]
    ends = end_tokens(model.generation_config.eos_token_id, tokenizer.eos_token_id)
    written: list[list[int]] = []
    steering = (
        nullcontext(ActivationChange())
        if intervention is None
        else steer(language_model.blocks[layer], intervention.to(language_model.device))
    )
    with steering as change:
        for start in range(0, len(tokens), batch_size):
            rows = tokens[start : start + batch_size]
            added = generate_greedily(model, rows, new_tokens, ends, tokenizer.pad_token_id)
            written += [up_to_end(row, ends) for row in added]
    return Completions(tokens, written, change)
