"""Finding, loading and telling apart base models."""

import json
import os
from pathlib import Path

import pytest
import torch
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from projects_common.models.devices import choose_device, choose_dtype
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer
from safetensors.torch import load_file, save_file

from mlflow_plugin.errors import PhaseError, UsageError


def files_in(folder: Path) -> ModelFiles:
    return ModelFiles(str(folder), folder, "", {})


def save_weights(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> Path:
    folder.mkdir()
    names = sorted(tensors)
    files = {name: f"model-{1 + place % shards:05}-of-{shards:05}.safetensors" for place, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return folder


def test_the_digest_is_of_the_weights_and_not_of_how_they_are_sharded(tmp_path: Path) -> None:
    tensors = {f"layer.{number}": torch.randn(4, 8) for number in range(5)}
    whole = weights_digest(save_weights(tmp_path / "whole", tensors))
    assert weights_digest(save_weights(tmp_path / "sharded", tensors, shards=3)) == whole


@pytest.mark.parametrize("change", ["value", "name", "shape", "dtype"])
def test_the_digest_tells_weights_apart(tmp_path: Path, change: str) -> None:
    before = {"a": torch.zeros(4, 8), "b": torch.ones(3)}
    after = dict(before)
    if change == "value":
        after["a"] = torch.zeros(4, 8).index_put((torch.tensor(3), torch.tensor(7)), torch.tensor(1e-30))
    elif change == "name":
        after["c"] = after.pop("a")
    elif change == "shape":
        after["a"] = torch.zeros(8, 4)
    else:
        after["a"] = torch.zeros(4, 8, dtype=torch.int32)
    digests = [weights_digest(save_weights(tmp_path / name, t)) for name, t in (("before", before), ("after", after))]
    assert digests[0] != digests[1]


def test_weights_that_changed_in_place_get_another_digest(tmp_path: Path) -> None:
    folder = save_weights(tmp_path / "model", {"a": torch.zeros(4)})
    file = folder / "model-00001-of-00001.safetensors"
    os.utime(file, (1, 1))
    before = weights_digest(folder)
    save_file({"a": torch.ones(4)}, file)
    assert weights_digest(folder) != before


def test_a_folder_is_found_with_its_config(tiny_folder: Path) -> None:
    files = find_model(str(tiny_folder))
    assert (files.folder, files.revision, files.config["model_type"]) == (tiny_folder.resolve(), "", "llama")


def test_the_loaded_model_has_the_dtype_asked_for_and_the_weights_of_the_file(tiny_folder: Path) -> None:
    model = load_model(find_model("tiny"), torch.bfloat16, torch.device("cpu"))
    stored = load_file(tiny_folder / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not model.training
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert torch.equal(model.state_dict()[name], stored[name].to(torch.bfloat16))


def test_a_name_that_is_neither_folder_nor_on_the_hub_says_what_to_check() -> None:
    with pytest.raises(PhaseError, match=r"cannot be had from the Hugging Face Hub.*HF_TOKEN"):
        find_model("nobody/nothing")
    with pytest.raises(PhaseError, match="neither a folder here nor the form of a Hub id"):
        find_model("no/such/folder")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_folder_without_a_readable_config_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(PhaseError, match=r"config\.json"):
        find_model(str(tmp_path))


def test_a_folder_that_holds_only_an_adapter_says_so(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(PhaseError, match="It holds an adapter"):
        find_model(str(tmp_path))


def test_pickled_weights_are_not_loaded(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_folder / "config.json").read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(PhaseError, match="cannot be loaded"):
        load_model(files_in(tmp_path), torch.float32, torch.device("cpu"))


def test_a_model_too_big_for_the_memory_says_how_much_it_needs(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(PhaseError, match=r"out of memory while .* its weights alone need 0\.\d+ GiB"):
        load_model(find_model("tiny"), torch.float32, torch.device("cpu"))


def test_a_damaged_tokenizer_is_refused_by_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(PhaseError, match=f"the tokenizer of .* in {tmp_path} cannot be loaded"):
        load_tokenizer(files_in(tmp_path))


def test_where_bfloat16_is_slow_float32_is_chosen_unless_another_is_given() -> None:
    cpu = choose_device("cpu")
    assert [choose_dtype(name, cpu) for name in ("auto", "bfloat16")] == [torch.float32, torch.bfloat16]
    with pytest.raises(UsageError, match="'int8' is not one of auto, bfloat16, float32"):
        choose_dtype("int8", cpu)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"device 'cuda:7' cannot be used.*device=auto"):
        choose_device("cuda:7")
