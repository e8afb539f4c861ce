"""The estimate of memory against what training really takes, and what the machine has against it."""

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from lora_retraining.checks import resources
from lora_retraining.checks.memory import (
    Architecture,
    Precision,
    adapter_parameters,
    architecture,
    layer_bytes,
    training_memory,
)
from lora_retraining.settings import PRESETS, Settings, read_settings
from projects_common.models.headers import read_headers

CPU = Precision(4, 4, cuda=False)
TOLERANCE = 0.25
SIZES = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2}
CHILD = """
import sys, threading, time
import psutil, torch
from pathlib import Path
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
import transformers.trainer
folder, hidden, layers, vocabulary, rank, dropout, checkpointing, batch, length = sys.argv[1], *map(float, sys.argv[2:])
def resident(): return psutil.Process().memory_info().rss
torch.ones(64, 64, requires_grad=True).matmul(torch.ones(64, 64)).sum().backward()
before = peak = resident()
config = LlamaConfig(hidden_size=int(hidden), intermediate_size=3 * int(hidden), num_hidden_layers=int(layers),
    num_attention_heads=8, num_key_value_heads=2, vocab_size=int(vocabulary), tie_word_embeddings=True)
model = LlamaForCausalLM(config)
model.save_pretrained(folder)
names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
model = get_peft_model(model, LoraConfig(r=int(rank), lora_dropout=dropout, target_modules=names))
if checkpointing:
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
optimizer = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
done = False
def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
for _ in range(2):
    ids = torch.randint(0, int(vocabulary), (int(batch), int(length)))
    model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, use_cache=False).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
done = True
print(peak - before)
"""


@pytest.mark.parametrize(("dropout", "checkpointing"), [(0.05, False)])
def test_the_estimate_is_near_what_training_takes(tmp_path: Path, dropout: float, checkpointing: bool) -> None:
    hidden, layers, vocabulary, rank, batch, length = 512, 4, 8192, 16, 4, 128
    figures = [hidden, layers, vocabulary, rank, dropout, int(checkpointing), batch, length]
    # Without what glibc keeps of freed memory, which is a share of its own in the estimate.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-c", CHILD, str(tmp_path), *map(str, figures)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    measured = int(done.stdout.split()[-1])

    sizes = Architecture(hidden, 3 * hidden, layers, hidden, vocabulary)
    chosen = read_settings(
        {
            "preset": "tiny",
            "rank": rank,
            "dropout": dropout,
            "gradient_checkpointing": checkpointing,
            "batch_size": batch,
        }
    )
    parts = training_memory(sizes, read_headers(tmp_path), chosen, length, CPU)
    for name in ("runtime", "fragmentation", "checkpoint being saved"):
        parts.pop(name)
    print(f"measured {measured / 2**20:.0f} MiB, computed {sum(parts.values()) / 2**20:.0f} MiB")
    assert measured * (1 - TOLERANCE) <= sum(parts.values()) <= measured * (1 + TOLERANCE), (measured, parts)


def test_what_a_layer_keeps_is_what_autograd_saves() -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    def saved(layers: int, dropout: float, autocast: bool) -> int:
        config = LlamaConfig(**SIZES, num_hidden_layers=layers, vocab_size=64)
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        base = LlamaForCausalLM(config).to(torch.bfloat16 if autocast else torch.float32)
        model = get_peft_model(base, LoraConfig(r=16, lora_dropout=dropout, target_modules=names))
        own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
        kept: dict[int, torch.Tensor] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.untyped_storage().data_ptr() not in own:
                kept[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        ids = torch.randint(0, 64, (2, 128))
        mask = torch.ones_like(ids)
        mask[0, -5:] = 0
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        ):
            # The graph has to live as long as what it saved is counted: storages that are freed are used again.
            loss = model(input_ids=ids, attention_mask=mask, labels=ids, use_cache=False).loss
            return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) + 0 * int(loss.requires_grad)

    sizes = Architecture(256, 1024, 2, 256, 64)
    for dropout in (0.0, 0.05):
        for autocast in (False, True):
            chosen = read_settings({"preset": "tiny", "rank": 16, "dropout": dropout})
            use = Precision(2, 2, cuda=False) if autocast else CPU
            computed = layer_bytes(sizes, chosen, 128, use)
            measured = (saved(2, dropout, autocast) - saved(1, dropout, autocast)) / (2 * 128)
            assert computed == pytest.approx(measured, rel=0.05), (dropout, autocast)


def test_the_adapter_is_counted_at_the_seven_projections(tiny_folder: Path) -> None:
    from lora_retraining.base_model.loading import find_model
    from lora_retraining.settings import PROJECTIONS
    from peft import LoraConfig, get_peft_model
    from projects_common.models.loading import load_model

    files = find_model("tiny")
    model = get_peft_model(load_model(files, "float32", "cpu"), LoraConfig(r=8, target_modules=list(PROJECTIONS)))
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    assert adapter_parameters(read_headers(tiny_folder), 8) == trained


def eight_billion() -> tuple[Architecture, Settings]:
    return Architecture(4096, 14336, 32, 4096, 128256), PRESETS["llama-3.1-8b"]


def test_gradient_checkpointing_and_smaller_batches_take_less(tiny_folder: Path) -> None:
    sizes, chosen = eight_billion()
    headers, gpu = read_headers(tiny_folder), Precision(2, 2, cuda=True)

    def activations(**changes: object) -> int:
        changed = read_settings({"preset": "llama-3.1-8b", **changes})
        return training_memory(sizes, headers, changed, 2048, gpu)["activations"]

    assert chosen.gradient_checkpointing
    assert activations() < activations(gradient_checkpointing=False) / 8
    assert activations() == pytest.approx(2 * activations(batch_size=4), rel=0.01)


def test_sizes_under_other_names_are_not_guessed() -> None:
    assert architecture({"n_embd": 768, "n_layer": 12}) is None


def test_memory_that_does_not_suffice_is_refused_with_what_is_missing() -> None:
    parts = {"weights": 16 * 2**30, "logits": 24 * 2**30}
    found = resources.check_memory(parts, 2**30, 24 * 2**30, 64 * 2**30, gpu=True)
    assert (found.status, "16.0 GiB are missing" in found.remedy) == ("fail", True)
    assert "40 GiB (logits 24, weights 16), of 24 GiB free on the GPU" in found.detail
    assert resources.check_memory(parts, 2**30, 80 * 2**30, 64 * 2**30, gpu=True).status == "pass"
    assert resources.check_memory(parts, 2**30, 41 * 2**30, 64 * 2**30, gpu=True).status == "warn"
    assert "to merge" in resources.check_memory(parts, 65 * 2**30, 80 * 2**30, 64 * 2**30, gpu=True).remedy
    assert resources.check_memory(None, 2**30, 80 * 2**30, 64 * 2**30, gpu=True).status == "warn"


def test_a_container_counts_as_the_memory_that_it_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = namedtuple("limit", "limit used")(3 * 2**20, 2**20)
    monkeypatch.setattr(resources, "memory_limit", lambda: limit)
    assert resources.free_main_memory() == 2 * 2**20


def test_a_model_of_billions_needs_a_gpu_and_a_small_one_does_not() -> None:
    cpu = torch.device("cpu")
    assert resources.check_device(cpu, 135_000_000).status == "pass"
    found = resources.check_device(cpu, 8_030_000_000)
    assert (found.status, "8.0 billion parameters on a CPU" in found.detail) == ("fail", True)


def test_disks_are_added_up_by_what_lies_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("usage", "free")(50 * 10**9))
    needs = {"models": (tmp_path / "not" / "there", 30 * 10**9), "checkpoints": (tmp_path, 25 * 10**9)}
    found = resources.check_disk(needs)
    assert (found.status, "5 GB are missing" in found.remedy) == ("fail", True)
    assert resources.check_disk({"models": (tmp_path, 49 * 10**9)}).status == "warn"
    assert resources.check_disk({"models": (tmp_path, 10**9)}).status == "pass"


def test_only_local_artifact_stores_take_room_here() -> None:
    assert "merged models" in resources.disk_needs(10, 100, "file:///data/mlruns/1/artifacts")
    assert "merged models" not in resources.disk_needs(10, 100, "s3://bucket/1/artifacts")


def test_missing_and_old_packages_are_named() -> None:
    assert resources.check_packages().status == "pass"
    found = resources.check_packages({"torch": "99.0", "no-such-package": "1.0"})
    assert found.status == "fail"
    assert "needed from 99.0 on" in found.detail
    assert "no-such-package is missing" in found.detail
