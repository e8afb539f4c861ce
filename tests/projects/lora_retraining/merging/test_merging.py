"""Merging an adapter into its base: what is computed, what is refused, what is left behind when it fails."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.merging import blocks
from lora_retraining.merging import merged_model as merged_model_module
from lora_retraining.merging.adapter import read_adapter
from lora_retraining.merging.logits import compare_logits, logit_tolerance, logits, widened
from lora_retraining.merging.merged_model import merge_adapter
from peft import LoraConfig, PeftModel, get_peft_model
from projects_common.models.headers import INDEX_FILE, read_headers
from projects_common.models.loading import ModelFiles
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from mlflow_plugin.errors import PhaseError

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PROMPTS = [list(range(10, 50)), list(range(60, 90))]
CPU = torch.device("cpu")


def make_adapter(base: Path, folder: Path, *, own: bool = True, **config: Any) -> Path:
    """Make a LoRA adapter of a saved model with random weights on both sides, as training leaves it."""
    settings = {"r": 4, "lora_alpha": 8, "target_modules": PROJECTIONS} | config
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapted = get_peft_model(model, LoraConfig(**settings))
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(str(folder))
    if own:
        record = {"source": str(base), "revision": "", "weights_digest": weights_digest(base), "dtype": "float32"}
        (folder / "base.json").write_text(json.dumps(record))
    return folder


def merged_by_peft(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    merged = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().state_dict()
    return {name: tensor.clone() for name, tensor in merged.items()}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.fixture(scope="module")
def base(tiny_folder: Path) -> ModelFiles:
    return find_model(str(tiny_folder))


@pytest.fixture(scope="module")
def adapter(base: ModelFiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base.folder, tmp_path_factory.mktemp("adapters") / "adapter")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 6}, "alpha_pattern": {"down_proj": 32}},
        {"target_modules": "all-linear", "exclude_modules": ["k_proj"]},
    ],
    ids=["plain", "rank-stabilised", "patterns", "all-linear"],
)
def test_every_weight_is_what_peft_itself_makes_of_it(base: ModelFiles, tmp_path: Path, config: dict[str, Any]):
    adapter = make_adapter(base.folder, tmp_path / "adapter", **config)
    merge_adapter(adapter, base, tmp_path / "model", "float32")
    expected, found = merged_by_peft(base.folder, adapter), weights(tmp_path / "model")
    original = weights(base.folder)
    assert found.keys() == original.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)
    assert not torch.equal(found["model.layers.1.mlp.up_proj.weight"], original["model.layers.1.mlp.up_proj.weight"])


def test_weights_that_are_stored_transposed_get_the_transposed_change(tiny_folder: Path, tmp_path: Path):
    config = GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=2, n_positions=128)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    for file in tiny_folder.glob("tokenizer*"):
        shutil.copy(file, tmp_path / "gpt2")
    base = find_model(str(tmp_path / "gpt2"))
    adapter = make_adapter(base.folder, tmp_path / "adapter", target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
    merge_adapter(adapter, base, tmp_path / "model", "float32")
    expected = merged_by_peft(base.folder, adapter)
    for name, tensor in weights(tmp_path / "model").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-7)


def test_a_sharded_base_becomes_shards_of_the_size_asked_for_and_loads(base: ModelFiles, adapter: Path, tmp_path: Path):
    sharded = tmp_path / "sharded"
    AutoModelForCausalLM.from_pretrained(base.folder).save_pretrained(sharded, max_shard_size="100KB")
    for file in base.folder.glob("tokenizer*"):
        shutil.copy(file, sharded)
    assert (sharded / INDEX_FILE).is_file()
    merged = merge_adapter(adapter, find_model(str(sharded)), tmp_path / "model", "float32", shard_bytes=150_000)
    files = sorted((tmp_path / "model").glob("*.safetensors"))
    assert merged.base_matches  # Sharding makes no other base.
    assert len(files) > 2
    assert all(file.stat().st_size < 160_000 for file in files)
    whole = merge_adapter(adapter, base, tmp_path / "whole", "float32")
    assert weights_digest(tmp_path / "model") == weights_digest(whole.files.folder)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert torch.isfinite(loaded(torch.tensor([PROMPTS[0]])).logits).all()


def test_a_merge_in_blocks_of_few_rows_is_the_merge(
    base: ModelFiles, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    merge_adapter(adapter, base, tmp_path / "whole", "bfloat16")
    monkeypatch.setitem(blocks.BLOCK_NUMBERS, "cpu", 1000)
    parts = merge_adapter(adapter, base, tmp_path / "parts", "bfloat16")
    found, expected = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=2**-8, atol=0)
    assert sum(layer.count for layer in parts.written.layers) == sum(
        header.count for header in read_headers(base.folder) if "proj" in header.name
    )


def test_the_result_is_rounded_once_from_the_sum_in_float32(base: ModelFiles, adapter: Path, tmp_path: Path):
    merge_adapter(adapter, base, tmp_path / "model", "bfloat16")
    expected = merged_by_peft(base.folder, adapter)
    for name, tensor in weights(tmp_path / "model").items():
        assert tensor.dtype == torch.bfloat16
        # Sums that differ in their last float32 digit may round to neighbours.
        same = (tensor == expected[name].to(torch.bfloat16)).float().mean()
        assert same > 0.999, name


def test_the_same_merge_gives_the_same_bytes(base: ModelFiles, adapter: Path, tmp_path: Path):
    first, second = (merge_adapter(adapter, base, tmp_path / name).files.folder for name in ("first", "second"))
    names = sorted(file.name for file in first.iterdir())
    assert names == sorted(file.name for file in second.iterdir())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_what_is_reported_of_a_merge_is_what_the_files_say(base: ModelFiles, adapter: Path, tmp_path: Path):
    merged = merge_adapter(adapter, base, tmp_path / "model", "bfloat16")
    count = sum(tensor.numel() for tensor in weights(base.folder).values())
    assert merged.base_matches
    assert merged.verification.problems == ()
    assert merged.verification.size_matches
    assert merged.verification.tensor_bytes == 2 * count
    assert merged.verification.dtypes == {"BF16": count}
    assert merged.written.nonfinite == {}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_files_that_are_not_as_they_should_be_are_reported(base: ModelFiles, adapter: Path, tmp_path: Path):
    from lora_retraining.merging.files import verify

    folder = merge_adapter(adapter, base, tmp_path / "model", "bfloat16").files.folder
    tensors = weights(folder)
    removed = tensors.pop("model.norm.weight")
    tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].float()
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text("{}")
    found = verify(folder, read_headers(base.folder), "BF16", base.folder)
    assert not found.size_matches
    assert found.tensor_bytes - found.expected_bytes == 2 * 160 * 64 - 2 * removed.numel()
    told = "\n".join(found.problems)
    assert "model.norm.weight is missing" in told
    assert "up_proj.weight is F32 (160, 64), not BF16 (160, 64)" in told
    assert "tokenizer.json differs" in told


def test_nan_in_the_base_is_counted_where_it_is(base: ModelFiles, tmp_path: Path):
    broken = tmp_path / "broken"
    shutil.copytree(base.folder, broken)
    tensors = {name: tensor.clone() for name, tensor in weights(broken).items()}
    tensors["model.norm.weight"][3] = torch.nan
    tensors["model.layers.0.mlp.up_proj.weight"][5, :2] = torch.inf
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    adapter = make_adapter(broken, tmp_path / "adapter")
    merged = merge_adapter(adapter, find_model(str(broken)), tmp_path / "model")
    assert merged.written.nonfinite == {"model.norm.weight": 1, "model.layers.0.mlp.up_proj.weight": 2}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merged_logits_agree_with_base_and_adapter(base: ModelFiles, adapter: Path, tmp_path: Path, dtype: str):
    merged = merge_adapter(adapter, base, tmp_path / "model", dtype)
    kind = getattr(torch, dtype)
    found = compare_logits(merged.files, base, adapter, PROMPTS, kind, torch.float32, CPU)
    assert found.positions == 32
    assert 0 < found.difference < found.tolerance
    assert found.divergence < found.tolerance
    assert (found.noise is None) == (dtype == "float32")


@pytest.mark.parametrize("wrong", ["scaling", "a layer left out", "base alone"])
def test_a_wrong_merge_exceeds_the_tolerance_even_of_bfloat16(
    base: ModelFiles, adapter: Path, tmp_path: Path, wrong: str
):
    folder = merge_adapter(adapter, base, tmp_path / "model", "float32").files.folder
    tensors, before = weights(folder), weights(base.folder)
    for name, tensor in tensors.items():
        if wrong == "base alone" or (wrong == "a layer left out" and ".layers.1." in name):
            tensors[name] = before[name]
        elif wrong == "scaling":
            tensors[name] = before[name] + 2 * (tensor - before[name])
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    found = compare_logits(find_model(str(folder)), base, adapter, PROMPTS, torch.float32, torch.float32, CPU)
    assert found.difference > logit_tolerance(torch.bfloat16, 2, 160) > 100 * found.tolerance


def test_widened_layers_compute_in_float32_and_get_their_weights_back(base: ModelFiles):
    narrow = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.bfloat16)
    wide = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.bfloat16).float()
    plain = logits(narrow, PROMPTS)
    with widened(narrow):
        exact = logits(narrow, PROMPTS)
    torch.testing.assert_close(exact, logits(wide, PROMPTS), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(plain, exact, rtol=1e-4)
    assert {parameter.dtype for parameter in narrow.parameters()} == {torch.bfloat16}
    torch.testing.assert_close(logits(narrow, PROMPTS), plain, rtol=0, atol=0)


# --- refusals ---


def test_an_adapter_of_another_base_is_refused_by_digest_unless_overridden(
    base: ModelFiles, adapter: Path, tmp_path: Path
):
    other = tmp_path / "other"
    shutil.copytree(base.folder, other)
    tensors = {name: tensor.clone() for name, tensor in weights(other).items()}
    tensors["model.norm.weight"][0] += 1e-3
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(PhaseError, match=r"was trained against .* but the base at hand") as refusal:
        merge_adapter(adapter, find_model(str(other)), tmp_path / "model")
    assert "-P override=base_digest" in str(refusal.value)
    assert not (tmp_path / "model").exists()
    merged = merge_adapter(adapter, find_model(str(other)), tmp_path / "model", override=("base_digest",))
    assert not merged.base_matches


def test_what_is_merged_into_another_base_is_compared_on_the_adapters_own(
    base: ModelFiles, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from lora_retraining.merging.merged_model import reference_base

    other = tmp_path / "other"
    shutil.copytree(base.folder, other)
    tensors = {name: 1.1 * tensor for name, tensor in weights(other).items()}
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    merged = merge_adapter(adapter, find_model(str(other)), tmp_path / "model", override=("base_digest",))
    assert reference_base(merged).folder == base.folder
    recorded = json.loads((adapter / "base.json").read_text()) | {"source": str(tmp_path / "gone")}
    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    (moved / "base.json").write_text(json.dumps(recorded))
    merged = merge_adapter(moved, find_model(str(other)), tmp_path / "model2", override=("base_digest",))
    assert reference_base(merged).folder == other
    assert "cannot be compared with" in capsys.readouterr().err


def test_an_adapter_from_elsewhere_says_which_base_it_names_and_asks(base: ModelFiles, tmp_path: Path):
    stranger = make_adapter(base.folder, tmp_path / "adapter", own=False)
    with pytest.raises(PhaseError, match=r"has no base\.json .* names .*tiny.*override=base_digest"):
        merge_adapter(stranger, base, tmp_path / "model")
    assert not merge_adapter(stranger, base, tmp_path / "model", override=("base_digest",)).base_matches


def test_a_base_that_was_scaled_back_from_4_bits_is_refused_unless_overridden(
    base: ModelFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rounded = tmp_path / "innocent"
    shutil.copytree(base.folder, rounded)
    tensors = weights(rounded)
    for name, tensor in tensors.items():
        if "proj" in name:
            blocks = tensor.reshape(-1, 32)
            scale = blocks.abs().amax(1, keepdim=True) / 7
            tensors[name] = ((blocks / scale).round() * scale).reshape(tensor.shape)
    save_file(tensors, rounded / "model.safetensors", {"format": "pt"})
    adapter = make_adapter(rounded, tmp_path / "adapter")
    with pytest.raises(PhaseError, match=r"not in full precision: .*override=base_precision"):
        merge_adapter(adapter, find_model(str(rounded)), tmp_path / "model")
    assert merge_adapter(adapter, find_model(str(rounded)), tmp_path / "model", override=("base_precision",))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "lora_only"}, "bias = 'lora_only'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa'"),
        ({"peft_type": "IA3"}, "'IA3' adapter"),
    ],
)
def test_adapters_that_are_more_than_a_low_rank_change_are_refused(
    base: ModelFiles, adapter: Path, tmp_path: Path, changed: dict[str, Any], said: str
):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text()) | changed
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(PhaseError, match=said):
        merge_adapter(folder, base, tmp_path / "model")


def test_an_adapter_of_another_shape_or_architecture_is_refused(base: ModelFiles, adapter: Path, tmp_path: Path):
    from lora_retraining.base_model.tiny import CONFIGURATION
    from transformers import LlamaConfig, LlamaForCausalLM

    wide, deep = tmp_path / "wide", tmp_path / "deep"
    LlamaForCausalLM(LlamaConfig(**{**CONFIGURATION, "intermediate_size": 96})).save_pretrained(wide)
    LlamaForCausalLM(LlamaConfig(**{**CONFIGURATION, "num_hidden_layers": 3})).save_pretrained(deep)
    GPT2LMHeadModel(GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=2)).save_pretrained(tmp_path / "gpt2")
    for folder, said in (
        (wide, r"made for another base: its change of .* is \(160, 64\), the weight .* is \(96, 64\)"),
        (deep, "lacks 14 tensors, first base_model.model.model.layers.2"),
        (tmp_path / "gpt2", "does not fit the architecture"),
    ):
        files = find_model(str(folder))
        with pytest.raises(PhaseError, match=said):
            read_adapter(adapter, files, read_headers(folder))


def test_an_adapter_on_tied_embeddings_is_refused(base: ModelFiles, tmp_path: Path):
    folder = make_adapter(base.folder, tmp_path / "adapter", target_modules=["lm_head", "q_proj"])
    with pytest.raises(PhaseError, match=r"no lm_head\.weight\. It may share its weight with the embeddings"):
        merge_adapter(folder, base, tmp_path / "model")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_adapter_with_nan_or_inf_is_refused(base: ModelFiles, adapter: Path, tmp_path: Path, value: float):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    name = sorted(tensors)[2]
    tensors[name][0, 0] = value
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    with pytest.raises(PhaseError, match=f"NaN or Inf in 1 of 28 tensors, first {name}"):
        merge_adapter(folder, base, tmp_path / "model")


@pytest.mark.parametrize("damage", ["cut", "no weights", "pickle", "config"])
def test_a_damaged_adapter_is_named_by_its_file(base: ModelFiles, adapter: Path, tmp_path: Path, damage: str):
    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    file = folder / "adapter_model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "config":
        (folder / "adapter_config.json").write_text("{")
    else:
        file.rename(folder / ("adapter_model.bin" if damage == "pickle" else "weights.old"))
    with pytest.raises(PhaseError, match="adapter_config.json" if damage == "config" else "adapter_model.safetensors"):
        merge_adapter(folder, base, tmp_path / "model")


def test_another_tokenizer_beside_the_adapter_is_refused_unless_overridden(
    base: ModelFiles, adapter: Path, tmp_path: Path
):
    from transformers import AutoTokenizer

    folder = tmp_path / "adapter"
    shutil.copytree(adapter, folder)
    tokenizer = AutoTokenizer.from_pretrained(base.folder)
    tokenizer.save_pretrained(folder)
    merge_adapter(folder, base, tmp_path / "same")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    with pytest.raises(PhaseError, match=r"other chat template.*override=tokenizer"):
        merge_adapter(folder, base, tmp_path / "model")
    merge_adapter(folder, base, tmp_path / "model", override=("tokenizer",))


# --- what is left behind ---


def test_a_disk_without_room_is_reported_before_anything_is_written(
    base: ModelFiles, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PhaseError, match=r"100,000 bytes free, the merged model needs 238,208: 138,208 are missing"):
        merge_adapter(adapter, base, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_leaves_no_half_model(
    base: ModelFiles, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put, written = blocks.BlockFiles._put, 0

    def until_full(files: Any, file: Path, content: memoryview, at: int) -> None:
        nonlocal written
        written += len(content)
        if written > 150_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(files, file, content, at)

    monkeypatch.setattr(blocks.BlockFiles, "_put", until_full)
    with pytest.raises(PhaseError, match=r"is full: the merged model has 238,208 bytes, .* are missing"):
        merge_adapter(adapter, base, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_memory_that_runs_out_is_reported_and_leaves_no_half_model(
    base: ModelFiles, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(merged_model_module, "write_merged", out_of_memory)
    with pytest.raises(PhaseError, match=r"out of memory while weights were merged .*-P device=cpu"):
        merge_adapter(adapter, base, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
