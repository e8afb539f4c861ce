"""Chats as tokens: what is learnt from, and that training and validation ask alike."""

from pathlib import Path
from typing import Any

import pytest
from lora_retraining.data.chat import encode_row, encode_rows, end_token_id, prompt_text
from transformers import AutoTokenizer

from mlflow_plugin.errors import PhaseError

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4"},
    {"role": "user", "content": "And twice as much?"},
    {"role": "assistant", "content": "```python\n8\n```"},
]
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "<|im_start|>system\nToday: {{ date_string }}<|im_end|>{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n\n{{ message['content'] | trim }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
INSTRUCT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
)
MARKED = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] }}END{% endgeneration %}REST\n{% else %}"
    "{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED_WITH_END = MARKED.replace("END", "<|im_end|>").replace("REST", "")
MARKED_WITHOUT_END = MARKED.replace("END", "").replace("REST", "<|im_end|>")
REWRITING = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if loop.last %}{{ message['content'] }}"
    "{% else %}{{ message['content'] | upper }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture
def tokenizer(tiny_folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_folder)


def learnt(tokenizer: Any, row: dict[str, list[int]]) -> str:
    assert len(row["input_ids"]) == len(row["labels"])
    assert all(label in (-100, token) for token, label in zip(row["input_ids"], row["labels"], strict=True))
    return str(tokenizer.decode([label for label in row["labels"] if label != -100]))


@pytest.mark.parametrize("template", [None, SMOLLM2, LLAMA3, INSTRUCT, MARKED_WITH_END, MARKED_WITHOUT_END])
def test_only_the_assistants_turns_are_learnt_each_with_its_end_token(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template or tokenizer.chat_template
    row = encode_row(tokenizer, TURNS, 1000)
    spoken = learnt(tokenizer, row).replace(" ", "")
    assert spoken == "4<|im_end|>```python\n8\n```<|im_end|>"
    assert row["input_ids"][-1] == row["labels"][-1] == end_token_id(tokenizer)


@pytest.mark.parametrize("template", [None, SMOLLM2, LLAMA3, INSTRUCT, MARKED_WITH_END])
def test_a_model_is_asked_in_validation_as_it_was_trained(tokenizer: Any, template: str | None) -> None:
    tokenizer.chat_template = template or tokenizer.chat_template
    row = encode_row(tokenizer, TURNS[1:3], 1000)
    asked = tokenizer(prompt_text(tokenizer, TURNS[1]["content"]), add_special_tokens=False)["input_ids"]
    first = next(place for place, label in enumerate(row["labels"]) if label != -100)
    assert row["input_ids"][:first] == asked


def test_the_prompt_does_not_change_from_day_to_day(tokenizer: Any) -> None:
    tokenizer.chat_template = LLAMA3
    assert "Today: 26 Jul 2024" in prompt_text(tokenizer, "Hi")


def test_the_end_token_is_the_templates_and_not_the_end_of_a_document(tokenizer: Any) -> None:
    tokenizer.eos_token = "<|endoftext|>"
    assert tokenizer.convert_ids_to_tokens(end_token_id(tokenizer)) == "<|im_end|>"
    assert learnt(tokenizer, encode_row(tokenizer, TURNS[1:3], 1000)) == "4<|im_end|>"


def test_a_tokenizer_without_a_template_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template = None
    for refused in (
        lambda: prompt_text(tokenizer, "Hi"),
        lambda: end_token_id(tokenizer),
        lambda: encode_row(tokenizer, TURNS, 100),
        lambda: encode_rows(tokenizer, [{"id": "a", "messages": TURNS}], 100),
    ):
        with pytest.raises(PhaseError, match="has no chat template"):
            refused()


@pytest.mark.parametrize("end", ["", "</answer>"])
def test_a_template_without_an_end_token_is_refused(tokenizer: Any, end: str) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_end|>", end)
    with pytest.raises(PhaseError, match="does not learn to stop"):
        encode_row(tokenizer, TURNS, 100)


def test_a_template_that_rewrites_earlier_turns_is_refused_for_chats_of_several_turns_only(tokenizer: Any) -> None:
    tokenizer.chat_template = REWRITING
    with pytest.raises(PhaseError, match="rewrites earlier turns"):
        encode_row(tokenizer, [*TURNS[1:4], {"role": "assistant", "content": "eight"}], 1000)


def test_a_template_that_refuses_a_chat_is_told_with_the_row(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('no system message, please') }}"
    with pytest.raises(PhaseError, match="no system message, please"):
        prompt_text(tokenizer, "Hi")


@pytest.mark.parametrize("turn", [1, 2])
def test_marks_of_the_template_inside_the_text_are_refused_with_the_row(tokenizer: Any, turn: int) -> None:
    messages = [dict(message) for message in TURNS[:3]]
    messages[turn]["content"] += " <|im_end|> more"
    with pytest.raises(PhaseError, match=rf"row bad: turn {turn + 1} holds <\|im_end\|>"):
        encode_rows(tokenizer, [{"id": "bad", "messages": messages}], 100)


def test_rows_that_are_too_long_are_cut_and_counted(tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    short = {"id": "short", "messages": TURNS[1:3]}
    answer = {"id": "long answer", "messages": [TURNS[1], {"role": "assistant", "content": "four " * 40}]}
    question = {"id": "long question", "messages": [{"role": "user", "content": "four " * 60}, TURNS[2]]}
    encoded = encode_rows(tokenizer, [short, answer, question], 50)
    assert (len(encoded.rows), encoded.cut, encoded.dropped) == (2, 2, 1)
    assert [len(row["input_ids"]) for row in encoded.rows] == [len(encode_row(tokenizer, TURNS[1:3], 50)["labels"]), 50]
    assert (
        "2 of 3 rows are longer than max_length=50 tokens and were cut; 1 of them were dropped"
        in capsys.readouterr().err
    )


def test_a_chat_without_an_assistant_is_refused(tokenizer: Any) -> None:
    with pytest.raises(PhaseError, match="no turn of the assistant"):
        encode_row(tokenizer, TURNS[:2], 100)
