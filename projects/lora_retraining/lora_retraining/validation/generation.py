"""Generate greedy completions in batches that are rebuilt as rows end; each row gets what it would get alone.

A batch of `generate` continues until its last row has ended. Here a round ends when half of its rows have. The others
join waiting rows in the next round, and their tokens are read in again, which costs little beside writing them. Rows
are padded on the left under an attention mask: neighbours do not matter.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from projects_common.models.generation import end_tokens, generate_greedily, up_to_end
from transformers import StoppingCriteria, StoppingCriteriaList

from lora_retraining.data import chat
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory, is_out_of_memory

_logger = logging.getLogger(__name__)


class GenerationState:
    """The completions of some prompts so far, round by round.

    As part of a loop's state it lets a resumed run form the very same batches as the interrupted one would have.

    Args:
        prompts: Token ids of each, without padding.
        ends: Ids of tokens that end a completion.
        max_new_tokens: Tokens of a completion at most.
        batch_size: Rows at once; halved if memory runs out.
    """

    def __init__(
        self, prompts: Sequence[Sequence[int]], ends: Sequence[int], max_new_tokens: int, batch_size: int
    ) -> None:
        if batch_size < 1 or max_new_tokens < 1:
            raise ValueError(f"batch_size {batch_size} and max_new_tokens {max_new_tokens} both count from 1.")
        self.prompts = [list(prompt) for prompt in prompts]
        self.ends = frozenset(ends)
        self.max_new_tokens, self.batch_size = max_new_tokens, batch_size
        self.written: list[list[int]] = [[] for _ in prompts]
        self.ended = [False] * len(self.prompts)
        self.seconds = 0.0

    @property
    def waiting(self) -> list[int]:
        """Return the rows that have not ended, the longest first: a batch that does not fit into memory shows at
        once.
        """
        rows = (row for row, ended in enumerate(self.ended) if not ended)
        return sorted(rows, key=lambda row: (-len(self.prompts[row]) - len(self.written[row]), row))

    @property
    def tokens(self) -> int:
        return sum(map(len, self.written))

    def cut(self, row: int) -> bool:
        return self.ended[row] and not (self.written[row] and self.written[row][-1] in self.ends)

    def advance(self, model: Any, pad: int) -> list[int]:
        """Write one round; return the rows that ended in it. The batch is halved if memory runs out.

        Raises:
            PhaseError: A single row does not fit.
        """
        began = time.monotonic()
        while True:
            rows = self.waiting[: self.batch_size]
            try:
                added = self._generate(model, rows, pad)
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                what = " ".join(str(error).split())[:200]
            self._shrink(what)  # Only here the traceback, and with it the batch, is gone.
        for row, tokens in zip(rows, added, strict=True):
            self.written[row] += tokens
            full = len(self.written[row]) >= self.max_new_tokens
            self.ended[row] = full or bool(tokens and tokens[-1] in self.ends)
        self.seconds += time.monotonic() - began
        return [row for row in rows if self.ended[row]]

    def _shrink(self, what: str) -> None:
        free_memory()
        if self.batch_size == 1:
            raise PhaseError(
                f"out of memory while a single completion was written ({what}). Lower max_new_tokens, take "
                "dtype=bfloat16, or end other programs that use this memory."
            )
        self.batch_size = (self.batch_size + 1) // 2
        _logger.info(
            f"out of memory while completions were written; continuing with {self.batch_size} at once ({what})"
        )

    def _generate(self, model: Any, rows: Sequence[int], pad: int) -> list[list[int]]:
        """Return the next tokens of each row: up to its end token or its limit, or as far as the round went."""
        texts = [self.prompts[row] + self.written[row] for row in rows]
        left = [self.max_new_tokens - len(self.written[row]) for row in rows]
        round_ends = _RoundEnds(max(map(len, texts)), self.ends, left, enough=(len(rows) + 1) // 2)
        added = generate_greedily(model, texts, max(left), self.ends, pad, StoppingCriteriaList([round_ends]))
        return [up_to_end(tokens[:limit], self.ends, keep_end=True) for tokens, limit in zip(added, left, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        return {"written": self.written, "ended": self.ended, "batch_size": self.batch_size, "seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if len(state["written"]) != len(self.prompts):
            raise PhaseError(
                f"the checkpoint holds {len(state['written'])} completions, but there are {len(self.prompts)} prompts."
            )
        self.written = [list(tokens) for tokens in state["written"]]
        self.ended = [bool(ended) for ended in state["ended"]]
        self.batch_size, self.seconds = state["batch_size"], state["seconds"]


def complete(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int, batch_size: int
) -> Iterator[tuple[int, str]]:
    """Yield the index of a prompt and its greedy completion, without the end token, as soon as it has ended.

    Args:
        model: A causal model.
        tokenizer: Of the model.
        prompts: Messages of users, before the chat template.
        max_new_tokens: Tokens of a completion at most.
        batch_size: Rows at once.

    Raises:
        PhaseError: A single row does not fit into memory, or the tokenizer has no chat template.
    """
    ids = [prompt_ids(tokenizer, user) for user in prompts]
    writing = GenerationState(ids, end_ids(tokenizer, model.generation_config.eos_token_id), max_new_tokens, batch_size)
    while writing.waiting:
        for row in writing.advance(model, padding_id(tokenizer)):
            yield row, text_of(tokenizer, writing.written[row])


def prompt_ids(tokenizer: Any, user: str) -> list[int]:
    """Return the tokens that a model sees before its answer. The template has its special tokens already."""
    return list(tokenizer(chat.prompt_text(tokenizer, user), add_special_tokens=False)["input_ids"])


def end_ids(tokenizer: Any, configured: int | Sequence[int] | None = None) -> list[int]:
    """Return the tokens that end a completion: the chat template's, the tokenizer's and those of the model's
    configuration.

    Models that were not trained on the template stop at the latter.
    """
    return sorted(end_tokens(chat.end_token_id(tokenizer), tokenizer.eos_token_id, configured))


def text_of(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return the text of a completion, without the end token and other special tokens."""
    return str(tokenizer.decode(tokens, skip_special_tokens=True))


def padding_id(tokenizer: Any) -> int:
    """Return a token to fill rows up with. It is masked, so any token will do."""
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else chat.end_token_id(tokenizer))


class _RoundEnds(StoppingCriteria):
    """End each row at its own limit, and all of them when as many as `enough` have ended."""

    def __init__(self, width: int, ends: frozenset[int], left: Sequence[int], enough: int) -> None:
        self._width, self._ends, self._left, self._enough = width, sorted(ends), left, enough
        self._done: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        device = input_ids.device
        ended = torch.isin(input_ids[:, -1], torch.tensor(self._ends, device=device))
        ended |= torch.tensor(self._left, device=device) <= input_ids.shape[1] - self._width
        self._done = ended if self._done is None else self._done | ended
        if int(self._done.sum()) >= self._enough:
            return torch.ones_like(self._done)
        return self._done
