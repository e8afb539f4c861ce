"""Make a two-layer language model with random weights: the real code path in a second, for tests.

A model with nothing in it would have nothing to find, so two facts about real models are planted: all embeddings share
a large common part, and those of words that the bundled sentences use only for praise, or only for blame, lie to either
side of it.
"""

from typing import Any

import torch
from projects_common.models.tiny import tiny_llama
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from sentiment_steering.states.sentences import (
    BUNDLED_OPENINGS,
    BUNDLED_PROMPTS,
    READING_SUFFIX,
    read_openings,
    read_prompt_file,
)

SPECIAL_TOKENS = ("<pad>", "<end>", "<unknown>")
WIDTH = 32
CONFIGURATION = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}
EMBEDDING_SCALE = 0.2
COMMON_LENGTH = 3.0
PLANTED_LENGTH = 4.0
"""Lengths of the planted parts; that of the random part is about EMBEDDING_SCALE * sqrt(WIDTH) = 1.1."""


def tiny_tokenizer() -> Any:
    """Return a tokenizer with a token for each word of the bundled files and of the suffix that a reading ends with."""
    sentences = read_prompt_file(BUNDLED_PROMPTS)
    texts = [*sentences.positive, *sentences.negative, *read_openings(BUNDLED_OPENINGS), READING_SUFFIX, "good bad"]
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *sorted(_words(texts))))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[2]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[1],
        unk_token=SPECIAL_TOKENS[2],
    )


def tiny_model(tokenizer: Any) -> Any:
    """Return a Llama of two layers and width 32 with the same weights each time."""

    def plant(model: Any) -> None:
        embeddings = model.get_input_embeddings().weight
        embeddings.normal_(std=EMBEDDING_SCALE)
        common, planted = torch.linalg.qr(torch.randn(WIDTH, 2)).Q.mT
        embeddings += COMMON_LENGTH * common
        for words, sign in zip(_class_words(), (1, -1), strict=True):
            embeddings[tokenizer.convert_tokens_to_ids(sorted(words))] += sign * PLANTED_LENGTH * planted

    return tiny_llama(CONFIGURATION | {"vocab_size": len(tokenizer)}, plant)


def _class_words() -> tuple[set[str], set[str]]:
    """Return the words of praise and the words of blame."""
    sentences = read_prompt_file(BUNDLED_PROMPTS)
    praise, blame = _words(sentences.positive), _words(sentences.negative)
    return (praise - blame) | {"good"}, (blame - praise) | {"bad"}


def _words(texts: list[str]) -> set[str]:
    splitter = pre_tokenizers.Whitespace()
    return {word for text in texts for word, _ in splitter.pre_tokenize_str(text)}
