"""Models: by preset, by folder, from safetensors only."""

from pathlib import Path

import pytest
import torch
from projects_common.models.devices import choose_device
from sentiment_steering.states.models import LanguageModel, load_model
from transformers import AutoTokenizer

from mlflow_plugin.errors import PhaseError


def test_the_tiny_model_is_the_same_each_time_and_leaves_the_random_state_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = load_model("tiny", "cpu"), load_model("tiny", "cpu")
    assert torch.equal(torch.rand(1), expected)
    ours, theirs = (model.model.state_dict() for model in (first, second))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (len(first.blocks), first.width) == (2, 32)


def test_a_folder_that_holds_no_model_is_refused_with_the_presets(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="Presets: tiny, smollm2, gpt2"):
        load_model(str(tmp_path), "cpu")


def test_weights_in_a_pickle_are_not_read(tiny: LanguageModel, tmp_path: Path) -> None:
    tiny.model.config.save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    torch.save(tiny.model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(PhaseError, match="cannot be loaded"):
        load_model(str(tmp_path), "cpu")


def test_a_tokenizer_without_padding_pads_with_its_end_token(tiny: LanguageModel, tmp_path: Path) -> None:
    tiny.model.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(_saved_tokenizer(tiny, tmp_path))
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert load_model(str(tmp_path), "cpu").tokenizer.pad_token == "<end>"


def _saved_tokenizer(tiny: LanguageModel, folder: Path) -> str:
    tiny.tokenizer.save_pretrained(folder)
    return str(folder)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("auto").type in {"cpu", "cuda", "mps", "xpu"}
    with pytest.raises(PhaseError, match="device=cpu"):
        choose_device("abacus")
