"""Encode chats as tokens, in the same way for training and validation: a model is asked as it was trained."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import progress

_logger = logging.getLogger(__name__)

IGNORED = -100
"""Label of a token that takes no part in the loss, as torch's cross entropy has it."""
TEMPLATE_DATE = "26 Jul 2024"
"""Given to every template, since some (Llama 3) print the day they are rendered on: another prompt each day."""
_GENERATION_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")

Message = Mapping[str, str]
Row = Mapping[str, Sequence[int]]
"""`input_ids` and `labels`, and of packed rows `position_ids`, all of one length."""


@dataclass
class EncodedRows:
    """Rows as tokens.

    Attributes:
        cut: Rows that were longer than allowed.
        dropped: Those of them with nothing of an answer left.
    """

    rows: list[dict[str, list[int]]] = field(default_factory=list)
    cut: int = 0
    dropped: int = 0


def prompt_text(tokenizer: Any, user: str) -> str:
    """Return the text that a model continues after a user's message. Tokenize it with `add_special_tokens=False`.

    Raises:
        PhaseError: The tokenizer has no chat template.
    """
    return _rendered(tokenizer, [{"role": "user", "content": user}], generation=True)


def end_token_id(tokenizer: Any) -> int:
    """Return the token that ends an assistant's turn in this tokenizer's chat template; generation stops at it.

    It is not always the tokenizer's end-of-sequence token, which in many models ends a document.

    Raises:
        PhaseError: The template ends the turn with no special token. Such a model never learns to stop.
    """
    answer = "answer"
    chat = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
    text = _rendered(tokenizer, chat)
    behind = text[text.rindex(answer) + len(answer) :].strip()
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if behind else []
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    end = next((token for token in ids if token in special), None)
    if end is None:
        raise PhaseError(
            f"the chat template of {_name(tokenizer)} ends an assistant's turn with {behind!r}, which is no special "
            "token: a model trained with it does not learn to stop. Use the tokenizer of the instruction-tuned model."
        )
    return int(end)


def encode_row(tokenizer: Any, messages: Sequence[Message], max_length: int) -> dict[str, list[int]]:
    """Encode a chat as `input_ids` and `labels`, both of one length of at most `max_length`.

    Labels are the ids in the assistant's turns, with the token that ends each turn, else -100. Text of the template
    after the last such token (a line break) is left off. A longer chat is cut at its end.

    Raises:
        PhaseError: The template is missing, or rewrites earlier turns so that they cannot be told apart.
    """
    return _cut(_encode(tokenizer, messages, end_token_id(tokenizer)), max_length)


def encode_rows(tokenizer: Any, rows: Iterable[Mapping[str, Any]], max_length: int) -> EncodedRows:
    """Encode rows `{"id", "messages"}` as `encode_row` does, and count those that were cut.

    Raises:
        PhaseError: A row cannot be encoded; the message names it.
    """
    end, result = end_token_id(tokenizer), EncodedRows()
    for row in progress(rows, description="encoding rows"):
        try:
            encoded = _encode(tokenizer, row["messages"], end)
        except PhaseError as error:
            raise PhaseError(f"row {row['id']}: {error}") from None
        if len(encoded["input_ids"]) > max_length:
            result.cut += 1
            encoded = _cut(encoded, max_length)
            if all(label == IGNORED for label in encoded["labels"]):
                result.dropped += 1
                continue
        result.rows.append(encoded)
    if result.cut:
        _logger.info(
            f"{result.cut} of {len(result.rows) + result.dropped} rows are longer than max_length={max_length} tokens "
            f"and were cut; {result.dropped} of them were dropped, since nothing of an answer was left"
        )
    return result


def _cut(encoded: dict[str, list[int]], max_length: int) -> dict[str, list[int]]:
    return {name: values[:max_length] for name, values in encoded.items()}


def _encode(tokenizer: Any, messages: Sequence[Message], end: int) -> dict[str, list[int]]:
    _check_content(tokenizer, messages, end)
    marked = _GENERATION_MARK.search(tokenizer.get_chat_template() if tokenizer.chat_template else "")
    ids, spoken = (_spoken_by_marks if marked else _spoken_by_prefixes)(tokenizer, messages, end)
    labels = [token if own else IGNORED for token, own in zip(ids, spoken, strict=True)]
    length = max((place + 1 for place, own in enumerate(spoken) if own), default=0)
    if not length:
        raise PhaseError("the chat holds no turn of the assistant, so there is nothing to learn from it.")
    return {"input_ids": ids[:length], "labels": labels[:length]}


def _spoken_by_marks(tokenizer: Any, messages: Sequence[Message], end: int) -> tuple[list[int], list[bool]]:
    """Return the token ids, and for each if it is the assistant's, by the template's own `{% generation %}` marks."""
    encoded = tokenizer.apply_chat_template(
        [dict(message) for message in messages], return_assistant_tokens_mask=True, date_string=TEMPLATE_DATE
    )
    ids, spoken = list(encoded["input_ids"]), [bool(value) for value in encoded["assistant_masks"]]
    for place in range(1, len(ids)):
        # Some templates leave the end token outside of the marks.
        spoken[place] |= spoken[place - 1] and ids[place] == end and ids[place - 1] != end
    return ids, spoken


def _spoken_by_prefixes(tokenizer: Any, messages: Sequence[Message], end: int) -> tuple[list[int], list[bool]]:
    """Return the same for a template without marks: a turn runs from the end of its generation prompt to the end
    token.
    """
    text = _rendered(tokenizer, messages)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = list(encoded["input_ids"]), encoded["offset_mapping"]
    spoken = [False] * len(ids)
    for turn in (turn for turn, message in enumerate(messages) if message["role"] == "assistant"):
        before = _rendered(tokenizer, messages[:turn], generation=True) if turn else ""
        if not text.startswith(before):
            raise PhaseError(
                f"the chat template of {_name(tokenizer)} rewrites earlier turns, so the assistant's turn {turn + 1} "
                "cannot be told from the rest. Split the chat into rows of one answer each."
            )
        first = next((place for place, (_, stop) in enumerate(offsets) if stop > len(before)), len(ids))
        last = next((place for place in range(first, len(ids)) if ids[place] == end), None)
        if last is None:
            raise PhaseError(
                f"the chat template of {_name(tokenizer)} puts no end token behind the assistant's turn {turn + 1}."
            )
        spoken[first : last + 1] = [True] * (last + 1 - first)
    return ids, spoken


def _rendered(tokenizer: Any, messages: Sequence[Message], generation: bool = False) -> str:
    if not tokenizer.chat_template:
        raise PhaseError(
            f"the tokenizer of {_name(tokenizer)} has no chat template, so the model cannot be asked. "
            "Use an instruction-tuned model, or put its chat_template.jinja into the model's folder."
        )
    from jinja2.exceptions import TemplateError  # A template's own expressions raise the others.

    try:
        text: str = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=generation,
            date_string=TEMPLATE_DATE,
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise PhaseError(f"the chat template of {_name(tokenizer)} refuses the chat: {error}.") from None
    return text


def _check_content(tokenizer: Any, messages: Sequence[Message], end: int) -> None:
    """Refuse an end token inside a message: it would end the turn there, in training and in answers alike."""
    token = tokenizer.convert_ids_to_tokens(end)
    for turn, message in enumerate(messages, start=1):
        if token in message["content"]:
            raise PhaseError(f"turn {turn} holds {token} in its text. Take the template's own marks out of the data.")


def _name(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
