"""training/: rows as batches, steps as the Trainer takes them, the adapter's files."""

import itertools
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_retraining.base_model.loading import find_model, precision_of
from lora_retraining.settings import PROJECTIONS, read_settings
from lora_retraining.training.adapter import add_adapter, save_adapter, trained_parameters
from lora_retraining.training.batches import ShuffledGroups, collate, keeps_rows_apart, pack
from lora_retraining.training.loop import make_trainer, training_arguments
from lora_retraining.training.monitors import mean_loss
from lora_retraining.training.plan import count_tokens, make_plan
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer

from mlflow_plugin.errors import PhaseError

TINY = read_settings({"preset": "tiny"})


@pytest.fixture(scope="module")
def files(tiny_folder: Path) -> ModelFiles:
    return find_model(str(tiny_folder))


@pytest.fixture
def model(files: ModelFiles) -> Any:
    loaded = load_model(files, "float32", "cpu")
    loaded.config.use_cache = False
    return loaded


def rows_of(lengths: list[int], seed: int = 0) -> list[dict[str, list[int]]]:
    """Rows of random tokens of which the first third is not learnt."""
    source = random.Random(seed)
    rows = []
    for length in lengths:
        ids = [source.randrange(3, 500) for _ in range(length)]
        rows.append({"input_ids": ids, "labels": [-100] * (length // 3 + 1) + ids[length // 3 + 1 :]})
    return rows


def test_packing_loses_no_token_and_no_label_and_overfills_no_sequence():
    source = random.Random(1)
    rows = rows_of([source.randrange(4, 120) for _ in range(300)])

    packed = pack(rows, 128)

    assert all(len(sequence["input_ids"]) <= 128 for sequence in packed)
    assert count_tokens(packed) == count_tokens(rows)
    starts = [place for sequence in packed for place, at in enumerate(sequence["position_ids"]) if at == 0]
    assert len(starts) == len(rows)
    fewest = -(-sum(len(row["input_ids"]) for row in rows) // 128)
    assert len(packed) <= 11 / 9 * fewest + 1


def test_packed_rows_have_the_logits_that_they_have_alone(model: Any):
    rows = rows_of([30, 20, 9, 25])
    (first, second) = pack(rows, 60)
    batch = collate([first, second], padding=0)

    with torch.no_grad():
        together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"]).logits
        for line, sequence in enumerate((first, second)):
            ends = [place for place, at in enumerate(sequence["position_ids"]) if at == 0][1:]
            start = 0
            for end in [*ends, len(sequence["input_ids"])]:
                alone = model(input_ids=torch.tensor([sequence["input_ids"][start:end]])).logits[0]
                torch.testing.assert_close(together[line, start:end], alone, rtol=1e-4, atol=1e-4)
                start = end


def test_grouped_batches_have_rows_of_like_length_and_come_in_random_order():
    source = random.Random(2)
    rows = rows_of([source.randrange(5, 200) for _ in range(403)])
    torch.manual_seed(0)

    indices = list(ShuffledGroups(8, rows))  # type: ignore[arg-type]

    assert sorted(indices) == list(range(403))
    lengths = [len(rows[index]["input_ids"]) for index in indices]
    batches = [lengths[start : start + 8] for start in range(0, 400, 8)]
    assert max(batches[0]) == max(lengths)
    padded = sum(8 * max(batch) for batch in batches)
    assert padded < 1.1 * sum(map(sum, batches))
    longest = [max(batch) for batch in batches]
    falls = sum(later <= earlier for earlier, later in itertools.pairwise(longest))
    assert 0.3 < falls / len(longest) < 0.7


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_that_keeps_packed_rows_apart_is_distinguished_from_one_that_does_not(model: Any, attention: str):
    model.set_attn_implementation(attention)
    assert keeps_rows_apart(model, torch.device("cpu"))

    model.config.use_cache = True  # transformers then takes the sequence for one row, and says nothing
    assert not keeps_rows_apart(model, torch.device("cpu"))


def test_the_loss_of_packed_rows_is_the_mean_over_all_their_learnt_tokens(model: Any):
    rows = rows_of([30, 20, 9, 25])
    batch = collate(pack(rows, 60), padding=0)

    with torch.no_grad():
        assert float(model(**batch).loss) == pytest.approx(mean_loss(model, rows, torch.device("cpu")), rel=1e-5)
        assert float(model(**collate(rows, padding=0)).loss) == pytest.approx(float(model(**batch).loss), rel=1e-5)


@pytest.mark.parametrize(
    ("rows", "batch_size", "accumulation", "epochs"),
    [(17, 4, 1, 1.0), (17, 4, 3, 2.0), (5, 8, 4, 3.0), (40, 4, 2, 1.5)],
)
def test_the_planned_steps_are_those_that_the_trainer_takes(
    model: Any, tmp_path: Path, rows: int, batch_size: int, accumulation: int, epochs: float
):
    chosen = read_settings(
        {
            "preset": "tiny",
            "batch_size": batch_size,
            "accumulation": accumulation,
            "epochs": epochs,
            "packing": "grouped",
        }
    )
    data = rows_of([8] * rows)
    plan = make_plan(data, len(data), chosen)
    arguments = training_arguments(plan, chosen, str(tmp_path), cpu=True, autocast=False)
    trainer = make_trainer(add_adapter(model, chosen, "tiny"), data, arguments, padding=0)

    trainer.train()

    assert trainer.state.global_step == plan.steps
    assert f"{plan.steps} in" in plan.sentence()


def test_600_000_rows_with_the_published_batches_are_18_750_steps():
    llama = read_settings({"preset": "llama-3.1-8b", "packing": "grouped"})

    plan = make_plan([], 600_000, llama)

    assert (plan.steps, plan.warmup_steps) == (18_750, 100)


def test_warming_up_takes_at_most_a_tenth_of_the_steps():
    assert make_plan([], 640, read_settings({"preset": "llama-3.1-8b"})).warmup_steps == 2


def test_all_seven_projections_of_every_layer_get_an_adapter_in_float32(model: Any):
    base = sum(tensor.numel() for tensor in model.parameters())
    adapted = add_adapter(model, TINY, "tiny")

    adapters = {name for name, tensor in adapted.named_parameters() if tensor.requires_grad}
    assert len(adapters) == 2 * len(PROJECTIONS) * model.config.num_hidden_layers
    assert all(tensor.dtype == torch.float32 for tensor in adapted.parameters() if tensor.requires_grad)
    assert trained_parameters(adapted) < base / 4


def test_a_model_with_other_names_gets_adapters_on_all_its_linear_layers(capsys: pytest.CaptureFixture[str]):
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    configuration = GPTNeoXConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, intermediate_size=32)
    model = GPTNeoXForCausalLM(configuration)

    adapted = add_adapter(model, TINY, "neox")

    targets = adapted.peft_config["default"].target_modules
    assert {name.rpartition(".")[2] for name in targets} == {
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
    }
    assert "neox has no q_proj" in capsys.readouterr().err


def test_training_begins_without_a_word_of_names_that_are_going_to_change(files: ModelFiles, tmp_path: Path):
    model = load_model(files, "float32", "cpu")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        add_adapter(model, TINY, "base")
        plan = make_plan(rows_of([20]), 1, TINY)
        training_arguments(plan, TINY.changed(gradient_checkpointing=True), str(tmp_path), cpu=True, autocast=False)
    assert not [str(one.message) for one in said if issubclass(one.category, FutureWarning)]


def test_an_adapter_is_saved_with_the_bases_name_as_given_and_always_the_same_bytes(
    files: ModelFiles, model: Any, tmp_path: Path
):
    adapted = add_adapter(model, TINY, "the-base")
    base = {"source": "the-base", "revision": "", "weights_digest": "0" * 64, "dtype": "float32"}
    for name in ("one", "two"):
        save_adapter(adapted, load_tokenizer(files), base, tmp_path / name)

    one = {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()}
    assert one == {file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()}
    configuration = json.loads(one["adapter_config.json"])
    assert configuration["base_model_name_or_path"] == "the-base"
    assert configuration["target_modules"] == sorted(PROJECTIONS)
    assert json.loads(one["base.json"]) == base
    assert {"adapter_model.safetensors", "tokenizer.json"} <= one.keys()
    assert not [name for name in one if name.endswith((".bin", ".pt"))]


def test_a_full_disk_while_the_adapter_is_saved_says_so(
    files: ModelFiles, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from safetensors import SafetensorError

    def full(*arguments: object, **named: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("peft.peft_model.safe_save_file", full)

    with pytest.raises(PhaseError, match=r"could not be saved .*No space left on device.*Make room"):
        save_adapter(add_adapter(model, TINY, "tiny"), load_tokenizer(files), {}, tmp_path / "adapter")


def test_an_adapter_that_is_not_finite_is_not_saved(files: ModelFiles, model: Any, tmp_path: Path):
    adapted = add_adapter(model, TINY, "tiny")
    broken = next(tensor for tensor in adapted.parameters() if tensor.requires_grad)
    broken.data[0, 0] = float("nan")

    with pytest.raises(PhaseError, match="not finite"):
        save_adapter(adapted, load_tokenizer(files), {}, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize(
    ("instructions", "dtype", "expected"),
    [
        ({"avx512_bf16": True}, "auto", (torch.float32, True)),
        ({"avx2": True}, "auto", (torch.float32, False)),
        ({"avx512_bf16": True}, "float32", (torch.float32, False)),
        ({"avx2": True}, "bfloat16", (torch.bfloat16, True)),
    ],
)
def test_cpus_multiply_in_bfloat16_where_they_have_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool], dtype: str, expected: tuple[torch.dtype, bool]
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: instructions)

    assert precision_of(read_settings({"preset": "tiny", "dtype": dtype}), torch.device("cpu")) == expected
