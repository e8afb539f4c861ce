"""Completions in batches are those of each prompt alone, whatever happens on the way."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_retraining.base_model.loading import find_model
from lora_retraining.data import chat
from lora_retraining.data.generator import generated_tasks, training_rows
from lora_retraining.settings import PRESETS
from lora_retraining.validation.answering import Respondent
from lora_retraining.validation.generation import GenerationState, complete, end_ids, padding_id, prompt_ids
from projects_common.models.loading import load_model, load_tokenizer

from mlflow_plugin.errors import PhaseError

TASKS = generated_tasks("test", 17, seed=0)
PROMPTS = [task.prompt for task in TASKS]
TOKENS = 20


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    """Return the tiny model, made to end its answers at very different lengths, with its tokenizer."""
    files = find_model("tiny")
    model, tokenizer = load_model(files, "float32", "cpu"), load_tokenizer(files)
    model.generation_config.eos_token_id = [0, *range(5, model.config.vocab_size, 16)]
    return model, tokenizer


def ends_of(model: Any, tokenizer: Any) -> list[int]:
    return end_ids(tokenizer, model.generation_config.eos_token_id)


def one_by_one(model: Any, tokenizer: Any, tokens: int = TOKENS) -> list[list[int]]:
    """Plain greedy decoding without cache, padding or `generate`."""
    written = []
    for prompt in PROMPTS:
        ids = prompt_ids(tokenizer, prompt)
        start = len(ids)
        while len(ids) < start + tokens:
            with torch.inference_mode():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in ends_of(model, tokenizer):
                break
        written.append(ids[start:])
    return written


def writing(model: Any, tokenizer: Any, batch_size: int, tokens: int = TOKENS) -> GenerationState:
    prompts = [prompt_ids(tokenizer, prompt) for prompt in PROMPTS]
    return GenerationState(prompts, ends_of(model, tokenizer), tokens, batch_size)


def finish(model: Any, tokenizer: Any, rows: GenerationState) -> list[list[int]]:
    while rows.waiting:
        rows.advance(model, padding_id(tokenizer))
    return rows.written


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 40])
def test_batches_write_token_for_token_what_each_prompt_alone_gets(tiny: Any, batch_size: int) -> None:
    model, tokenizer = tiny
    expected = one_by_one(model, tokenizer)
    lengths = {len(tokens) for tokens in expected}
    assert TOKENS in lengths, "some are cut"
    assert len(lengths) > 3, "others end at different lengths"
    assert finish(model, tokenizer, writing(model, tokenizer, batch_size)) == expected


def test_every_prompt_is_completed_once_and_the_text_is_without_end_token(tiny: Any) -> None:
    model, tokenizer = tiny
    found = list(complete(model, tokenizer, PROMPTS, TOKENS, 4))
    assert sorted(index for index, _ in found) == list(range(len(PROMPTS)))
    expected = [tokenizer.decode(tokens, skip_special_tokens=True) for tokens in one_by_one(model, tokenizer)]
    assert [text for _, text in sorted(found)] == expected
    assert not any("<|im_end|>" in text for _, text in found)


def test_a_completion_that_ran_into_its_limit_is_distinguished_from_one_that_ended(tiny: Any) -> None:
    model, tokenizer = tiny
    rows = writing(model, tokenizer, 6)
    finish(model, tokenizer, rows)
    for row, tokens in enumerate(rows.written):
        assert rows.cut(row) == (tokens[-1] not in ends_of(model, tokenizer))


def test_the_models_own_generation_settings_change_nothing(tiny: Any) -> None:
    """Left to itself `generate` takes over whatever it is not told, such as a penalty."""
    model, tokenizer = tiny
    expected = finish(model, tokenizer, writing(model, tokenizer, 5))
    own, ends = model.generation_config, model.generation_config.eos_token_id
    try:
        model.generation_config = type(own)(do_sample=True, temperature=3.0, repetition_penalty=5.0, num_beams=3)
        model.generation_config.eos_token_id = ends
        assert finish(model, tokenizer, writing(model, tokenizer, 5)) == expected
        assert model.generation_config.repetition_penalty == 5.0
    finally:
        model.generation_config = own


def test_finished_rows_do_not_hold_a_batch_up(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny
    needed = sum(map(len, one_by_one(model, tokenizer)))
    forward, computed = type(model).forward, []

    def counted(self: Any, input_ids: torch.Tensor, **given: Any) -> Any:
        computed.append(len(input_ids))
        return forward(self, input_ids=input_ids, **given)

    monkeypatch.setattr(type(model), "forward", counted)
    finish(model, tokenizer, writing(model, tokenizer, 8))
    assert sum(computed) < 2 * needed


def test_a_state_resumes_with_the_very_same_batches(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny
    whole = writing(model, tokenizer, 4)
    for _ in range(3):
        whole.advance(model, padding_id(tokenizer))
    resumed = writing(model, tokenizer, 4)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    batches: list[list[int]] = []
    generate = GenerationState._generate
    monkeypatch.setattr(
        GenerationState,
        "_generate",
        lambda self, model, rows, pad: batches.append(rows) or generate(self, model, rows, pad),
    )
    finish(model, tokenizer, whole)
    first, batches[:] = list(batches), []
    finish(model, tokenizer, resumed)
    assert batches == first
    assert resumed.written == whole.written


def test_a_state_of_other_prompts_is_refused(tiny: Any) -> None:
    model, tokenizer = tiny
    with pytest.raises(PhaseError, match="holds 1 completions, but there are 17"):
        writing(model, tokenizer, 4).load_state_dict(
            {"written": [[]], "ended": [False], "batch_size": 4, "seconds": 0.0}
        )


def memory_for(rows: int, patch: pytest.MonkeyPatch, model: Any) -> None:
    forward = type(model).forward

    def limited(self: Any, input_ids: torch.Tensor, **given: Any) -> Any:
        if len(input_ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(self, input_ids=input_ids, **given)

    patch.setattr(type(model), "forward", limited)


def test_out_of_memory_halves_the_batch_and_changes_no_answer(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, tokenizer = tiny
    expected = one_by_one(model, tokenizer)
    memory_for(3, monkeypatch, model)
    rows = writing(model, tokenizer, 8)
    assert finish(model, tokenizer, rows) == expected
    assert rows.batch_size == 2
    assert "continuing with 4 at once" in capsys.readouterr().err


def test_a_single_row_that_does_not_fit_says_what_to_do(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny
    memory_for(0, monkeypatch, model)
    with pytest.raises(PhaseError, match="Lower max_new_tokens"):
        finish(model, tokenizer, writing(model, tokenizer, 4))


def test_what_the_model_sees_is_byte_for_byte_what_it_was_trained_on(tiny: Any) -> None:
    _, tokenizer = tiny
    side = Respondent(find_model("tiny"), TASKS, PRESETS["tiny"].max_new_tokens, 4)
    for row, (task, prompt) in enumerate(zip(training_rows(TASKS), side.generation.prompts, strict=True)):
        encoded = chat.encode_row(tokenizer, task["messages"], 10_000)
        seen = [token for token, label in zip(encoded["input_ids"], encoded["labels"], strict=True) if label == -100]
        assert prompt == seen
        assert tokenizer.decode(prompt) == chat.prompt_text(tokenizer, PROMPTS[row])


def test_it_stops_where_the_model_itself_says_that_a_text_ends(tmp_path: Path, tiny: Any) -> None:
    files = find_model("tiny")
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [7, 9]}))
    for file in files.folder.iterdir():
        if file.name != "generation_config.json":
            (tmp_path / file.name).symlink_to(file)
    ends = Respondent(find_model(str(tmp_path)), TASKS, 4, 4).generation.ends
    assert {7, 9, chat.end_token_id(tiny[1])} <= ends


def smollm2_writes_nearly_all_completions_alike_in_batches() -> None:
    """Rounding depends on the shape of a batch, so a tie between two tokens may fall otherwise once in a long while."""
    files = find_model("smollm2")
    model, tokenizer = load_model(files, "float32", "cpu"), load_tokenizer(files)
    batched = finish(model, tokenizer, writing(model, tokenizer, 8, tokens=32))
    alone = finish(model, tokenizer, writing(model, tokenizer, 1, tokens=32))
    assert sum(one == other for one, other in zip(batched, alone, strict=True)) >= len(PROMPTS) - 1
