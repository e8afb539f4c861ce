"""Each known corruption, made for real on the tiny model, is recognised; and a sound model resembles none."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.data import chat
from lora_retraining.data.generator import generated_tasks, training_rows
from lora_retraining.data.tasks import Task
from lora_retraining.validation.failure_signatures import (
    NF4_LEVELS,
    advantage,
    no_end_token,
    put_on_rounded_base,
    quantised_base,
    rounded_to_nf4,
    wrong_checkpoint,
    wrong_template,
)
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer

TASKS = [task for task in generated_tasks("train", 48, seed=3) if task.kind == "math"]
ROWS = training_rows(TASKS)
Prompt = Callable[[Any, Task], str]


def chat_prompt(tokenizer: Any, task: Task) -> str:
    return chat.prompt_text(tokenizer, task.prompt)


def bare_prompt(tokenizer: Any, task: Task) -> str:
    return f"{task.prompt}\n"


def train(model: Any, parameters: list[Any], tokenizer: Any, prompt: Prompt, end: bool, steps: int) -> None:
    """Train a few steps on the answers after such prompts, with or without the end token."""
    last = (
        [chat.end_token_id(tokenizer)]
        if end
        else tokenizer("\n\nSo much for that.", add_special_tokens=False)["input_ids"]
    )
    rows = []
    for task in TASKS:
        before = tokenizer(prompt(tokenizer, task), add_special_tokens=False)["input_ids"]
        after = [*tokenizer(task.answer, add_special_tokens=False)["input_ids"], *last]
        rows.append(([*before, *after], [-100] * len(before) + after))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in rows])
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()


@pytest.fixture(scope="module")
def tiny() -> tuple[ModelFiles, Any]:
    files = find_model("tiny")
    return files, load_tokenizer(files)


@pytest.fixture(scope="module")
def trained(tiny: tuple[ModelFiles, Any]) -> dict[str, Any]:
    """Return the tiny model trained rightly, without a template, and without an end token."""
    files, tokenizer = tiny
    ways = {"right": (chat_prompt, True), "no template": (bare_prompt, True), "no end": (chat_prompt, False)}
    models = {}
    for name, (prompt, end) in ways.items():
        torch.manual_seed(0)
        models[name] = load_model(files, "float32", "cpu")
        train(models[name], list(models[name].parameters()), tokenizer, prompt, end, steps=25)
        models[name].eval()
    return models


def test_a_model_trained_without_the_template_is_distinguished_from_one_trained_with_it(
    tiny: Any, trained: Any
) -> None:
    _, tokenizer = tiny
    wrong = wrong_template(trained["no template"], tokenizer, TASKS)
    assert wrong.resembles
    assert "the likeliest other is no template" in wrong.evidence
    assert not wrong_template(trained["right"], tokenizer, TASKS).resembles


def test_a_model_that_never_learnt_to_end_is_distinguished_from_one_that_did(tiny: Any, trained: Any) -> None:
    _, tokenizer = tiny
    assert no_end_token(trained["no end"], tokenizer, TASKS, 0.98, 0.02).resembles
    assert not no_end_token(trained["right"], tokenizer, TASKS, 0.0, 0.02).resembles
    # Long answers that were cut off do not make it one that cannot end.
    assert not no_end_token(trained["right"], tokenizer, TASKS, 0.9, 0.02).resembles


def saved(model: Any, folder: Path) -> ModelFiles:
    model.save_pretrained(folder)
    return find_model(str(folder))


def test_a_merge_that_changed_nothing_is_the_wrong_checkpoint(tiny: Any, trained: Any, tmp_path: Path) -> None:
    files, _ = tiny
    # In another dtype the digest differs, yet nothing was merged in.
    rounded = saved(load_model(files, "bfloat16", "cpu"), tmp_path / "bfloat16")
    digests = {"the base": weights_digest(files.folder)}
    assert wrong_checkpoint(files, digests, files, 1.0).resembles
    found = wrong_checkpoint(rounded, digests, files, 0.97)
    assert found.resembles
    assert found.evidence.startswith("0 of ")
    assert not wrong_checkpoint(saved(trained["right"], tmp_path / "right"), digests, files, 0.1).resembles


def test_the_weights_of_another_run_are_the_wrong_checkpoint(tiny: Any, trained: Any, tmp_path: Path) -> None:
    files, _ = tiny
    other = saved(trained["no end"], tmp_path / "other")
    digests = {"phase validate": weights_digest(other.folder)}
    found = wrong_checkpoint(other, digests, files, None)
    assert found.resembles
    assert "those of phase validate" in found.evidence


def test_nf4_keeps_its_levels_and_is_never_off_by_more_than_half_a_step() -> None:
    weight = torch.randn(3, 70, generator=torch.Generator().manual_seed(0))
    rounded = rounded_to_nf4(weight)
    assert rounded.shape == weight.shape
    steps = torch.tensor(NF4_LEVELS).diff()
    assert (rounded - weight).abs().max() <= weight.abs().max() * steps.max() / 2 + 1e-6
    assert torch.allclose(rounded_to_nf4(rounded), rounded, atol=1e-6)
    assert len(rounded.view(-1)[:64].unique()) <= 16


def test_nf4_is_that_of_bitsandbytes() -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    assert torch.allclose(functional.dequantize_4bit(packed, state), rounded_to_nf4(weight), atol=1e-5)


@pytest.mark.parametrize("quantised", [True, False])
def test_an_adapter_of_a_4_bit_base_is_distinguished_from_one_of_the_full_base(
    tiny: Any, tmp_path: Path, quantised: bool
) -> None:
    """Both are merged into the full-precision base; the one fits it, the other what NF4 made of it."""
    from peft import LoraConfig, get_peft_model

    files, tokenizer = tiny
    torch.manual_seed(0)
    base = load_model(files, "float32", "cpu")
    original = copy.deepcopy(base.state_dict())
    if quantised:
        put_on_rounded_base(base, files.folder)
    model = get_peft_model(base, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", lora_dropout=0.0))
    train(model, [one for one in model.parameters() if one.requires_grad], tokenizer, chat_prompt, True, steps=60)
    rounded = {name: tensor.clone() for name, tensor in base.state_dict().items() if "base_layer" in name}
    merged = model.merge_and_unload()
    with torch.no_grad():
        for name, weight in merged.named_parameters():
            if (before := rounded.get(name.replace(".weight", ".base_layer.weight"))) is not None:
                weight.add_(original[name] - before)
    found = quantised_base(merged.eval(), tokenizer, files, ROWS)
    assert found.resembles == quantised, found.evidence


def test_an_advantage_is_sure_only_when_it_is_beyond_its_scatter() -> None:
    sure = advantage([1.0, 1.1, 0.9, 1.0], [0.0, 0.1, 0.0, -0.1])
    assert sure.low > 0
    unsure = advantage([1.0, -1.0, 2.0, -1.5], [0.0, 0.0, 0.0, 0.0])
    assert unsure.low < 0 < unsure.high
