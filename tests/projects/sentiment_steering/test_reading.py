"""Hidden states: the same in a padded batch as alone, at the layer that was asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sentiment_steering.states.models import LanguageModel
from sentiment_steering.states.reading import collect_states
from sentiment_steering.states.sentences import Split
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from mlflow_plugin.errors import PhaseError

TEXTS = [
    "the story is dull .",
    "what a warm evening at the cinema .",
    "dull .",
    "two hours went by , and the script is lazy .",
]


def small_model(kind: str, tiny: LanguageModel) -> LanguageModel:
    """A randomly initialised model of an architecture that a preset has, with the tiny tokenizer."""
    size = {"vocab_size": len(tiny.tokenizer), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
    torch.manual_seed(1)
    if kind == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=64, **size))
    else:
        model = Qwen2ForCausalLM(
            Qwen2Config(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                **size,
            )
        )
    return LanguageModel(model.eval(), tiny.tokenizer, torch.device("cpu"))


@pytest.mark.parametrize("kind", ["tiny", "gpt2", "qwen2"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_padded_batch_gives_the_states_of_single_prompts(tiny: LanguageModel, kind: str, pooling: str) -> None:
    model = tiny if kind == "tiny" else small_model(kind, tiny)
    layers = list(range(len(model.blocks)))
    together = collect_states(model, TEXTS, layers, pooling, batch_size=4)
    alone = torch.cat([collect_states(model, [text], layers, pooling) for text in TEXTS], dim=1)
    assert together.shape == (len(layers), 4, 32)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_states_are_what_the_model_itself_reports_for_its_layers(tiny: LanguageModel) -> None:
    batch = tiny.tokenizer(TEXTS[0], return_tensors="pt")
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        reported = tiny.model(**inputs, output_hidden_states=True).hidden_states
    torch.testing.assert_close(collect_states(tiny, TEXTS[:1], [0])[0, 0], reported[1][0, -1])


def test_texts_keep_their_order_whatever_their_length(tiny: LanguageModel) -> None:
    forward = collect_states(tiny, TEXTS, [1], batch_size=2)
    backward = collect_states(tiny, TEXTS[::-1], [1], batch_size=3)
    torch.testing.assert_close(forward, backward.flip(1), rtol=1e-5, atol=1e-5)


def test_no_hook_stays_behind(tiny: LanguageModel) -> None:
    before = [len(block._forward_hooks) for block in tiny.blocks]
    collect_states(tiny, TEXTS, [0, 1])
    assert [len(block._forward_hooks) for block in tiny.blocks] == before


@pytest.mark.parametrize("layers", [[2], [-1]])
def test_a_layer_that_does_not_exist_is_refused(tiny: LanguageModel, layers: list[int]) -> None:
    with pytest.raises(PhaseError, match="layers 0 to 1"):
        collect_states(tiny, TEXTS, layers)


def test_an_empty_text_is_refused(tiny: LanguageModel) -> None:
    with pytest.raises(PhaseError, match="no tokens"):
        collect_states(tiny, ["fine", ""], [0])


def test_the_split_of_a_saved_model_of_a_large_presets_kind_can_be_read(
    tiny: LanguageModel, split: Split, tmp_path: Path
) -> None:
    from sentiment_steering.states.models import load_model

    small_model("qwen2", tiny).model.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "cpu")
    states = collect_states(loaded, split.train.positive, [1])
    assert states.shape == (1, len(split.train.positive), 32)
