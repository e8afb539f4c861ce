"""A tokenizer that is not the model's, or cannot end a chat, is found; so is an adapter in the model's folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from lora_retraining.base_model.loading import find_model
from lora_retraining.checks.base_precision import check_adapter
from lora_retraining.checks.checklist import Check
from lora_retraining.checks.tokenizer import check_tokenizer
from projects_common.models.headers import TensorHeader, read_headers
from projects_common.models.loading import load_tokenizer


@pytest.fixture
def tokenizer(tiny_folder: Path) -> Any:
    return load_tokenizer(find_model("tiny"))


def check(tokenizer: Any, config: dict[str, Any] | None = None, generation: dict[str, Any] | None = None) -> Check:
    files = find_model("tiny")
    return check_tokenizer(tokenizer, {**files.config, **(config or {})}, generation or {}, read_headers(files.folder))


def test_the_tokenizer_of_the_model_passes_and_its_end_token_is_named(tokenizer: Any) -> None:
    found = check(tokenizer)
    assert (found.status, "turns end with <|im_end|>" in found.detail) == ("pass", True)


def test_one_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    found = check(tokenizer)
    assert (found.status, "has no chat template" in found.detail) == ("fail", True)


def test_a_template_that_does_not_end_what_the_assistant_says_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    found = check(tokenizer)
    assert (found.status, "does not learn to stop" in found.detail) == ("fail", True)


def test_one_with_ids_beyond_the_embeddings_is_refused(tokenizer: Any) -> None:
    tokenizer.add_tokens(["<new>"])
    found = check(tokenizer)
    assert (found.status, "token ids up to 512, the model embeds 512" in found.detail) == ("fail", True)


def test_one_with_far_fewer_tokens_than_the_model_embeds_is_refused(tokenizer: Any) -> None:
    wide = TensorHeader("model.embed_tokens.weight", "F32", (2048, 64), Path("x"), 0, 0)
    found = check_tokenizer(tokenizer, find_model("tiny").config, {}, [wide])
    assert (found.status, "it is another model's" in found.detail) == ("fail", True)


def test_special_tokens_that_the_model_knows_under_other_ids_are_refused(tokenizer: Any) -> None:
    found = check(tokenizer, {"bos_token_id": 7, "eos_token_id": [8, 9]})
    assert found.status == "fail"
    assert "bos_token_id is 1 in the tokenizer and 7 in the model's configuration" in found.detail
    assert "eos_token_id is 2 in the tokenizer and 8, 9" in found.detail


def test_one_of_several_end_tokens_suffices_and_the_generation_config_counts_first(tokenizer: Any) -> None:
    assert check(tokenizer, {"eos_token_id": 8}, {"eos_token_id": [9, 2]}).status == "pass"


def test_a_model_that_stops_at_another_token_than_the_template_ends_with_is_pointed_out(tokenizer: Any) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    assert check(tokenizer, {"eos_token_id": 0}).status == "warn"


def test_an_adapter_in_the_models_folder_would_load_another_base(tmp_path: Path) -> None:
    assert check_adapter(tmp_path).status == "pass"
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"base_model_name_or_path": "meta-llama/Llama-3.1-8B"}))
    found = check_adapter(tmp_path)
    assert (found.status, "would load its base 'meta-llama/Llama-3.1-8B'" in found.detail) == ("fail", True)


def test_an_adapter_that_was_trained_on_a_quantised_base_is_refused_as_that(tmp_path: Path) -> None:
    base = "unsloth/meta-llama-3.1-8b-instruct-unsloth-bnb-4bit"
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
    found = check_adapter(tmp_path)
    assert (found.status, f"was trained on {base!r}" in found.detail) == ("fail", True)
    assert "trained against a quantised base" in found.remedy


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_adapter_config_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "adapter_config.json").write_text(content)
    assert check_adapter(tmp_path).status == "fail"
