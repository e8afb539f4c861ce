"""A base in full precision passes; a quantised one is found by whatever gives it away."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from lora_retraining.base_model.loading import find_model
from lora_retraining.checks.base_precision import check_base_precision, check_names
from lora_retraining.checks.checklist import Check
from lora_retraining.checks.levels import few_levels
from lora_retraining.checks.quantised_names import quantised_word
from projects_common.models.loading import load_model
from safetensors.torch import load_file, save_file

WEIGHT = "model.layers.0.mlp.up_proj.weight"


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path) -> Path:
    """Make a copy of the tiny model under an innocent name."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "base-model"))


def check(folder: Path) -> Check:
    return check_base_precision(str(folder), find_model(str(folder)))


def change_config(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_weights(folder: Path, change: dict[str, torch.Tensor]) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **change}, file, metadata={"format": "pt"})


def test_a_model_in_float32_and_its_bfloat16_copy_pass(folder: Path) -> None:
    assert check(folder).status == "pass"
    model = load_model(find_model(str(folder)), torch.bfloat16, torch.device("cpu"))
    model.save_pretrained(folder)
    found = check(folder)
    assert (found.status, "GB BF16" in found.detail) == ("pass", True)


def test_a_model_saved_in_4_bits_by_bitsandbytes_is_found_under_an_innocent_name(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("bitsandbytes")
    four_bit = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=four_bit)
    model.save_pretrained(folder)
    found = check(folder)
    assert found.status == "fail"
    assert "quantization_config: bitsandbytes" in found.detail
    change_config(folder, quantization_config=None)
    found = check(folder)
    assert found.status == "fail"
    assert "tensors as only quantised weights have" in found.detail
    assert "are U8, like" in found.detail


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config: gptq"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config: awq"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "text_config.quantization_config: fp8"),
        ({"stages": [{"quantization_config": {"bits": 4}}]}, "stages.0.quantization_config: {'bits': 4}"),
        ({"quant_method": "gptq", "bits": 4}, "quant_method: gptq"),
        ({"_name_or_path": "unsloth/llama-3-8b-bnb-4bit"}, "_name_or_path: unsloth/llama-3-8b-bnb-4bit"),
        ({"unsloth_fixed": True}, "unsloth_fixed"),
        ({"torch_dtype": "int8"}, "torch_dtype: int8"),
    ],
)
def test_settings_in_the_configuration_give_it_away(folder: Path, changes: dict[str, object], seen: str) -> None:
    change_config(folder, **changes)
    found = check_names(str(folder), find_model(str(folder)))
    assert (found.status, seen in found.detail) == ("fail", True)


def test_files_beside_the_weights_give_it_away(folder: Path) -> None:
    (folder / "quantize_config.json").write_text("{}")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "unsloth/x-bnb-4bit"}')
    detail = check(folder).detail
    assert "there is a quantize_config.json" in detail
    assert "adapter_config.json has base_model_name_or_path: unsloth/x-bnb-4bit" in detail


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("unsloth/meta-llama-3.1-8b-instruct-unsloth-bnb-4bit", "unsloth"),
        ("TheBloke/Llama-2-7B-GPTQ", "GPTQ"),
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "AWQ"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "GPTQ"),
        ("neuralmagic/Llama-3.1-8B-FP8", "FP8"),
        ("llama-3-8b-8bit", "8bit"),
        ("model.Q4_K_M.gguf", "Q4_K_M"),
        ("RedHatAI/Llama-3.1-8B-quantized.w4a16", "quantized"),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("Qwen/Qwen2.5-7B-Instruct", None),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", None),
        ("google/gemma-3-4b-it", None),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", None),
    ],
)
def test_names_of_quantised_models_are_distinguished_from_others(name: str, word: str | None) -> None:
    assert quantised_word(name) == word


def test_whole_numbers_and_8_bit_floats_in_place_of_weights_are_found(folder: Path) -> None:
    weight = load_file(folder / "model.safetensors")[WEIGHT]
    change_weights(folder, {WEIGHT: (weight * 100).to(torch.int8)})
    assert "are I8, like" in check(folder).detail
    change_weights(folder, {WEIGHT: weight.to(torch.float8_e4m3fn)})
    assert "are F8_E4M3, like" in check(folder).detail


def test_a_small_buffer_of_whole_numbers_is_no_alarm(folder: Path) -> None:
    change_weights(folder, {"model.position_ids": torch.arange(64)})
    assert check(folder).status == "pass"


def test_weights_smaller_than_the_configuration_stands_for_are_found(folder: Path) -> None:
    change_config(folder, num_hidden_layers=9)
    found = check(folder)
    assert (found.status, "billion parameters, so at least" in found.detail) == ("fail", True)


def test_pickled_weights_are_refused_and_never_opened(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    found = check(folder)
    assert (found.status, "only as pickle (pytorch_model.bin)" in found.detail) == ("fail", True)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(("kind", "seen"), [("Q4_0", "holds tensors of 1 x Q4_0"), ("F16", "has to be converted")])
def test_a_gguf_file_is_refused_by_the_types_of_its_tensors(tmp_path: Path, kind: str, seen: str) -> None:
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    numbers = np.random.default_rng(0).normal(size=(4, 64)).astype(np.float32)
    type_ = getattr(gguf.GGMLQuantizationType, kind)
    data = gguf.quants.quantize(numbers, type_)
    writer.add_tensor("blk.0.ffn_up.weight", data, raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for name in (str(file), str(tmp_path)):
        found = check_base_precision(name, None)
        assert (found.status, seen in found.detail) == ("fail", True)


def test_a_damaged_gguf_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF and nothing more")
    assert "cannot be read as GGUF" in check_base_precision(str(tmp_path), None).detail


def quantised(weight: torch.Tensor, levels: int, block: int) -> torch.Tensor:
    """Scaled to whole numbers from -levels to levels in blocks of a row, and back."""
    blocks = weight.view(weight.shape[0], -1, block)
    scale = blocks.abs().amax(-1, keepdim=True) / levels
    return ((blocks / scale).round() * scale).view_as(weight)


def pieces(weight: torch.Tensor) -> list[np.ndarray]:
    return list(weight.double().numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    ("levels", "block", "bits"), [(7, 32, 4), (7, 64, 4), (7, 128, 4), (127, 32, 8), (127, 128, 8), (127, 1024, 8)]
)
def test_weights_scaled_back_from_few_bits_are_found(levels: int, block: int, bits: int, dtype: torch.dtype) -> None:
    weight = torch.randn(16, 1024, generator=torch.Generator().manual_seed(0)) * 0.02
    found = few_levels("weight", pieces(quantised(weight, levels, block).to(dtype)))
    assert found is not None
    assert found.bits == bits


def test_weights_scaled_back_from_8_bit_floats_are_found() -> None:
    weight = torch.randn(16, 1024, generator=torch.Generator().manual_seed(0))
    found = few_levels("weight", pieces(weight.to(torch.float8_e4m3fn).float() * 0.02))
    assert found is not None
    assert found.bits == 8


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", ["normal", "student", "laplace", "uniform", "pruned", "half_pruned", "constant"])
def test_bfloat16_weights_that_never_were_quantised_are_no_alarm(shape: str, seed: int) -> None:
    torch.manual_seed(seed)
    size = (16, 640)
    weight = {
        "normal": lambda: torch.randn(size) * 0.02,
        "student": lambda: torch.distributions.StudentT(2.5).sample(size),
        "laplace": lambda: torch.distributions.Laplace(0.0, 0.1).sample(size),
        "uniform": lambda: torch.rand(size) - 0.5,
        "pruned": lambda: torch.randn(size) * (torch.rand(size) > 0.15),
        "half_pruned": lambda: torch.randn(size) * (torch.rand(size) > 0.5),
        "constant": lambda: torch.ones(size),
    }[shape]()
    assert few_levels("weight", pieces(weight.bfloat16())) is None


def test_a_model_scaled_back_from_4_bits_is_refused_but_the_known_sample_only_pointed_out(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    change = {name: quantised(w, 7, 32) for name, w in weights.items() if w.dim() == 2 and "embed" not in name}
    change_weights(folder, change)
    found = check(folder)
    assert (found.status, "were 4-bit once" in found.detail) == ("fail", True)
    assert check_base_precision("smollm2", find_model(str(folder))).status == "warn"


def test_few_weights_of_few_levels_are_pointed_out_and_not_refused(folder: Path) -> None:
    weight = load_file(folder / "model.safetensors")[WEIGHT]
    change_weights(folder, {WEIGHT: quantised(weight, 7, 32).view_as(weight)})
    found = check(folder)
    assert (found.status, "1 of 14 sampled weights were 4-bit once" in found.detail) == ("warn", True)
