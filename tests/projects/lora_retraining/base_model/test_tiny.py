"""The tiny model: made once, the same everywhere, small, and complete."""

from pathlib import Path

import pytest
import torch
from lora_retraining.base_model.tiny import tiny_folder as make_tiny
from transformers import AutoModelForCausalLM, AutoTokenizer


def test_the_tiny_model_is_the_same_each_time_and_leaves_the_random_state_alone(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    again = make_tiny()
    assert torch.equal(torch.rand(1), expected)
    assert again.is_relative_to(tmp_path)
    assert [file.name for file in again.parent.iterdir()] == [again.name]
    for file in tiny_folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


def test_it_is_made_once(tiny_folder: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in tiny_folder.iterdir()}
    assert make_tiny() == tiny_folder
    assert {file.name: file.stat().st_mtime_ns for file in tiny_folder.iterdir()} == before


def test_it_is_small_full_precision_and_answers(tiny_folder: Path) -> None:
    assert sum(file.stat().st_size for file in tiny_folder.iterdir()) < 2 * 2**20
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    text = "def größe(n):\n    return n * 12\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == model.config.vocab_size
    answer = model.generate(**tokenizer("2 + 2", return_tensors="pt"), max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > 4
