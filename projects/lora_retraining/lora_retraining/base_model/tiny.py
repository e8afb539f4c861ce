"""Make a language model of two layers with random weights, and its tokenizer, for tests and first tries."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from projects_common.downloads import cache_folder, scratch_folder

VOCABULARY = 512
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONFIGURATION = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    # Larger than usual, so that the random logits differ by more than rounding does.
    "initializer_range": 0.1,
}


def tiny_folder() -> Path:
    """Return the folder with the model as float32 safetensors and its tokenizer, made once in the user's cache.

    The model is a Llama of width 64 with a byte-level tokenizer of 512 tokens and a ChatML template, about 0.6 MB and
    the same bytes everywhere.
    """
    texts = _corpus()
    recipe = json.dumps([CONFIGURATION, CHAT_TEMPLATE, SPECIAL_TOKENS, texts])
    folder = cache_folder() / "models" / f"tiny-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        with scratch_folder(folder.parent) as scratch:
            _save(texts, scratch / folder.name)
            try:
                os.rename(scratch / folder.name, folder)
            except OSError:
                if not folder.is_dir():  # else another process has just put the same model there
                    raise
    return folder


def _corpus() -> list[str]:
    from lora_retraining.data.generator import generated_tasks

    return [text for task in generated_tasks("train", 200, seed=0) for text in (task.prompt, task.answer)]


def _save(texts: list[str], folder: Path) -> None:
    from projects_common.models.tiny import tiny_llama
    from transformers import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    model = tiny_llama({**CONFIGURATION, "dtype": "float32"})
    model.save_pretrained(folder)
    _tokenizer(texts).save_pretrained(folder)


def _tokenizer(texts: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        bos_token=SPECIAL_TOKENS[1],
        eos_token=SPECIAL_TOKENS[2],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
