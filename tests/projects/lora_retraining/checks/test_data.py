"""Data that is missing, malformed, too long or taken from a test set is found before anything is trained."""

import json
from pathlib import Path
from typing import Any

import pytest
from lora_retraining.base_model.loading import find_model
from lora_retraining.checks.checklist import Check
from lora_retraining.checks.data import check_data, check_overlap, load_data, measure_lengths, plan_sentence
from lora_retraining.data.generator import generated_tasks
from lora_retraining.settings import read_settings
from projects_common.models.loading import load_tokenizer

from mlflow_plugin.errors import PhaseError


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(find_model("tiny"))


def check(tokenizer: Any, **changes: Any) -> Check:
    chosen = read_settings({"preset": "tiny", **changes})
    data = load_data(chosen)
    return check_data(chosen, data, measure_lengths(tokenizer, data.rows, chosen.max_length))


def write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return file


def test_good_data_passes_with_its_size_its_digest_and_the_steps_it_makes(tokenizer: Any) -> None:
    found = check(tokenizer, packing="grouped", batch_size=8, accumulation=2, epochs=3)
    assert found.status == "pass"
    assert "generated: 48 rows" in found.detail
    assert "8 x 2 sequences a step make 3 steps an epoch, 9 in 3 epochs" in found.detail
    assert "100% end with the end token" in found.detail


def test_the_digest_is_of_the_rows(tokenizer: Any) -> None:
    details = [check(tokenizer, limit=limit).detail for limit in (8, 8, 9)]
    assert details[0] == details[1] != details[2]


def test_malformed_rows_are_all_listed_by_line(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}, {"x": 1}, {"prompt": "a"}])
    with pytest.raises(PhaseError, match=r"(?s)2.*3"):
        load_data(read_settings({"preset": "tiny", "data": str(file)}))


def test_rows_longer_than_allowed_are_pointed_out_and_refused_when_there_are_many(
    tokenizer: Any, tmp_path: Path
) -> None:
    def rows(long: int) -> str:
        texts = ["word " * 300] * long + ["short"] * (100 - long)
        many = [{"prompt": f"question {n}", "completion": text} for n, text in enumerate(texts)]
        return str(write_rows(tmp_path / f"{long}.jsonl", many))

    assert check(tokenizer, data=rows(1), limit=0).status == "pass"
    assert check(tokenizer, data=rows(2), limit=0).status == "warn"
    found = check(tokenizer, data=rows(21), limit=0)
    assert (found.status, "21.0% exceed max_length=512" in found.detail) == ("fail", True)


def test_data_without_rows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.jsonl"
    file.write_text("")
    chosen = read_settings({"preset": "tiny", "data": str(file)})
    with pytest.raises(PhaseError, match=r"empty\.jsonl"):
        load_data(chosen)


def test_a_row_that_cannot_be_encoded_is_named(tokenizer: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b <|im_end|> c"}])
    data = load_data(read_settings({"preset": "tiny", "data": str(file)}))
    with pytest.raises(PhaseError, match=r"row .*rows.*<\|im_end\|>"):
        measure_lengths(tokenizer, data.rows, 512)


def test_a_test_set_inside_the_training_data_is_refused_with_the_ids(tmp_path: Path) -> None:
    test, train = generated_tasks("test", 3, seed=0), generated_tasks("train", 20, seed=0)
    changed = test[0].prompt.replace("?", " please?").upper()
    rows = [{"id": f"row-{n}", "prompt": task.prompt, "completion": task.answer} for n, task in enumerate(train)]
    rows += [{"id": "leak", "prompt": test[1].prompt, "completion": "x"}]
    rows += [{"id": "near", "prompt": changed, "completion": "x"}]
    file = write_rows(tmp_path / "rows.jsonl", rows)
    found = check_overlap(load_data(read_settings({"preset": "tiny", "data": str(file), "limit": 0})))
    assert found.status == "fail"
    assert f"leak = generated: {test[1].id} (exact" in found.detail
    assert f"near = generated: {test[0].id}" in found.detail
    assert "row-" not in found.detail


def test_generated_splits_do_not_overlap() -> None:
    assert check_overlap(load_data(read_settings({"preset": "smollm2"}))).status == "pass"


def test_packed_rows_make_about_as_many_steps_as_their_tokens_fill(tokenizer: Any) -> None:
    chosen = read_settings({"preset": "tiny", "packing": "packed", "max_length": 256, "batch_size": 1})
    lengths = measure_lengths(tokenizer, load_data(chosen).rows, chosen.max_length)
    steps = -(-lengths.tokens // 256)
    assert f"about {steps:,} steps an epoch" in plan_sentence(chosen, 48, lengths)
