"""A two-layer language model with random weights and a word tokenizer, made on the spot: the real code path in a second."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from projects.sentiment_steering.data import (
    BUNDLED_OPENINGS,
    BUNDLED_PROMPTS,
    READING_SUFFIX,
    read_openings,
    read_prompt_file,
)

SPECIAL_TOKENS = ("<pad>", "<end>", "<unknown>")
WIDTH = 32


def tiny_tokenizer() -> Any:
    """One token for each word of the bundled sentences and openings."""
    sentences = read_prompt_file(BUNDLED_PROMPTS)
    texts = [*sentences.positive, *sentences.negative, *read_openings(BUNDLED_OPENINGS), READING_SUFFIX, "good bad"]
    splitter = pre_tokenizers.Whitespace()
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[2]))
    tokenizer.pre_tokenizer = splitter
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[1],
        unk_token=SPECIAL_TOKENS[2],
    )


def tiny_model(vocabulary_size: int) -> Any:
    """A Llama of two layers and width 32; the same weights each time, without touching the global random state."""
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=1,
        tie_word_embeddings=True,
        initializer_range=0.2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()
