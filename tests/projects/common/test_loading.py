"""Models by name: built, in a folder or from the Hub; loaded from safetensors only."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from projects_common.models.loading import find_model, load_model, load_tokenizer
from projects_common.models.tiny import tiny_llama

from mlflow_plugin.errors import PhaseError

CONFIGURATION = {
    "vocab_size": 16, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_llama(CONFIGURATION)


@pytest.fixture
def folder(tmp_path: Path, model: Any) -> Path:
    model.save_pretrained(tmp_path)
    return tmp_path


def test_a_model_of_a_builder_is_found_by_its_name(folder: Path) -> None:
    files = find_model("small", builders={"small": lambda: folder})
    assert (files.source, files.folder, files.revision) == ("small", folder, "")
    assert files.config["hidden_size"] == 16


def test_a_folder_is_loaded_with_its_weights(folder: Path, model: Any) -> None:
    loaded = load_model(find_model(str(folder)), "float32", "cpu")
    assert not loaded.training
    assert all(torch.equal(weight, model.state_dict()[name]) for name, weight in loaded.state_dict().items())


def test_saved_keeps_the_dtype_of_the_files(tmp_path: Path, model: Any) -> None:
    tiny_llama(CONFIGURATION).to(torch.bfloat16).save_pretrained(tmp_path)
    files = find_model(str(tmp_path))
    assert load_model(files, "saved", "cpu").dtype == torch.bfloat16
    assert load_model(files, "auto", "cpu").dtype == torch.float32


def test_a_folder_of_an_adapter_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PhaseError, match=r"no config\.json\. It holds an adapter"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("content", ["{half", json.dumps([])])
def test_a_damaged_configuration_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(PhaseError, match=r"config\.json .* Fetch the model anew"):
        find_model(str(tmp_path))


def test_weights_in_a_pickle_are_not_read(tmp_path: Path, model: Any) -> None:
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(PhaseError, match="cannot be loaded"):
        load_model(find_model(str(tmp_path)), "float32", "cpu")


def test_a_folder_without_tokenizer_is_named(folder: Path) -> None:
    with pytest.raises(PhaseError, match="the tokenizer of"):
        load_tokenizer(find_model(str(folder)))
