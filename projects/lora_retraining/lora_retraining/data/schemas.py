"""Read rows of data sets as chats and tasks, by the names of their fields."""

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lora_retraining.data.tasks import Split, Task

ROLES = ("system", "user", "assistant")
ACCEPTED = (
    "messages; prompt and completion; instruction and output; question and answer (GSM8K); "
    "text or prompt, code and test_list (MBPP); prompt, test and entry_point (HumanEval); or the fields of a task"
)
_CALCULATION = re.compile(r"<<[^<>]*>>")
_FINAL_NUMBER = re.compile(r"^####\s*\S", re.MULTILINE)


class MalformedRowError(ValueError):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True)
class Example:
    """One row of a data set.

    Attributes:
        row: `{"id", "messages"}` to train on.
        task: The same as a task for a model; None for a chat with a system message or of several turns.
    """

    row: dict[str, Any]
    task: Task | None


@dataclass(frozen=True)
class Origin:
    """The origin of a row: the name of its data set, its split, and an id for a row that has none."""

    dataset: str
    split: Split
    default_id: str


def read_example(record: Any, origin: Origin) -> Example:
    """Read a record by its fields.

    Raises:
        MalformedRowError: No schema fits, or a field is missing, wrong or empty.
    """
    if not isinstance(record, Mapping):
        raise MalformedRowError(f"is a {type(record).__name__}, not an object with fields")
    for fields, read in _SCHEMAS:
        if all(name in record for name in fields):
            return read(record, origin)
    raise MalformedRowError(
        f"has the fields {', '.join(map(str, record)) or 'of nothing'}, which fit none of: {ACCEPTED}"
    )


def _task_record(record: Mapping[str, Any], origin: Origin) -> Example:
    kind = _text(record, "kind")
    if kind not in ("math", "code", "open"):
        raise MalformedRowError(f"kind is {kind!r}; it must be math, code or open")
    more = {name: _text(record, name, empty=True) for name in ("tests", "entry_point", "prefix") if name in record}
    if kind == "code" and not more.get("tests"):
        raise MalformedRowError("tests is missing or empty, so nothing decides if code is right")
    return _of_task(record, origin, kind, _text(record, "prompt"), _text(record, "answer"), **more)


def _messages(record: Mapping[str, Any], origin: Origin) -> Example:
    return _chat(_checked_messages(record["messages"], "messages"), record, origin)


def _prompt_completion(record: Mapping[str, Any], origin: Origin) -> Example:
    if isinstance(record["prompt"], list) and isinstance(record["completion"], list):
        both = [_checked_messages(record[name], name, whole=False) for name in ("prompt", "completion")]
        return _chat(_checked_messages([*both[0], *both[1]], "prompt and completion"), record, origin)
    return _asked(record, origin, _text(record, "prompt"), _text(record, "completion"))


def _instruction(record: Mapping[str, Any], origin: Origin) -> Example:
    instruction, answer = _text(record, "instruction"), _text(record, "output")
    more = _text(record, "input", empty=True) if record.get("input") is not None else ""
    return _asked(record, origin, f"{instruction}\n\n{more}" if more.strip() else instruction, answer)


def _question(record: Mapping[str, Any], origin: Origin) -> Example:
    # GSM8K notes every calculation for a calculator that is not there: 48/2 = <<48/2=24>>24.
    return _asked(record, origin, _text(record, "question"), _CALCULATION.sub("", _text(record, "answer")))


def _mbpp(record: Mapping[str, Any], origin: Origin) -> Example:
    """Read a task of MBPP, asked as in Austin et al., Program synthesis with large language models (2021), with all
    tests.
    """
    what = _text(record, "text" if "text" in record else "prompt")
    code, tests = _text(record, "code").replace("\r\n", "\n").strip(), _texts(record, "test_list")
    setup = _text(record, "test_setup_code", empty=True) if record.get("test_setup_code") is not None else ""
    imports = _texts(record, "test_imports") if record.get("test_imports") else []
    listed = "\n".join(tests)
    prompt = (
        f"You are an expert Python programmer, and here is your task: {what} "
        f"Your code should pass these tests:\n\n{listed}"
    )
    return _of_task(
        record,
        origin,
        "code",
        prompt,
        f"```python\n{code}\n```",
        tests="\n".join([*imports, *([setup.replace("\r\n", "\n")] if setup.strip() else []), listed]),
        entry_point=_called(code, listed),
    )


def _human_eval(record: Mapping[str, Any], origin: Origin) -> Example:
    start, entry_point = _text(record, "prompt"), _text(record, "entry_point")
    solution = _text(record, "canonical_solution").rstrip()
    return _of_task(
        record,
        origin,
        "code",
        f"Complete this Python function and answer with the whole of it:\n```python\n{start.strip()}\n```",
        f"```python\n{start.lstrip()}{solution}\n```",
        tests=f"{_text(record, 'test').strip()}\n\ncheck({entry_point})",
        entry_point=entry_point,
        prefix=start,
    )


# The more telling a schema's fields, the earlier it is tried.
_SCHEMAS: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any], Origin], Example]], ...] = (
    (("dataset", "kind", "prompt", "answer"), _task_record),
    (("messages",), _messages),
    (("prompt", "canonical_solution", "test", "entry_point"), _human_eval),
    (("text", "code", "test_list"), _mbpp),
    (("prompt", "code", "test_list"), _mbpp),
    (("question", "answer"), _question),
    (("instruction", "output"), _instruction),
    (("prompt", "completion"), _prompt_completion),
)


def _asked(record: Mapping[str, Any], origin: Origin, prompt: str, answer: str) -> Example:
    """Make a task of a question and its answer: math if the answer ends as in GSM8K, else open."""
    return _of_task(record, origin, "math" if _FINAL_NUMBER.search(answer) else "open", prompt, answer)


def _of_task(record: Mapping[str, Any], origin: Origin, kind: Any, prompt: str, answer: str, **more: str) -> Example:
    task = Task(_identifier(record, origin), origin.dataset, kind, origin.split, prompt, answer, **more)
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return Example({"id": task.id, "messages": messages}, task)


def _chat(messages: list[dict[str, str]], record: Mapping[str, Any], origin: Origin) -> Example:
    if [message["role"] for message in messages] == ["user", "assistant"]:
        return _asked(record, origin, messages[0]["content"], messages[1]["content"])
    return Example({"id": _identifier(record, origin), "messages": messages}, None)


def _checked_messages(value: Any, field: str, whole: bool = True) -> list[dict[str, str]]:
    if not isinstance(value, list) or not value:
        raise MalformedRowError(f"{field} is not a list with at least one message")
    messages = []
    for number, message in enumerate(value, start=1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise MalformedRowError(f"message {number} of {field} has no role of {', '.join(ROLES)}")
        try:
            messages.append({"role": message["role"], "content": _text(message, "content")})
        except MalformedRowError as error:
            raise MalformedRowError(f"message {number} of {field}: {error}") from None
    if whole and messages[-1]["role"] != "assistant":
        raise MalformedRowError(
            f"{field} do not end with the assistant, so there is nothing to learn from the last turn"
        )
    if whole and messages[0]["role"] == "assistant":
        raise MalformedRowError(f"{field} begin with the assistant, so there is no question")
    return messages


def _text(record: Mapping[str, Any], field: str, empty: bool = False) -> str:
    value = record.get(field)
    if value is None:
        raise MalformedRowError(f"{field} is missing")
    if not isinstance(value, str):
        raise MalformedRowError(f"{field} is a {type(value).__name__}, not a text")
    if not empty and not value.strip():
        raise MalformedRowError(f"{field} is empty")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedRowError(f"{field} holds half a character (a lone surrogate)") from None
    return value


def _texts(record: Mapping[str, Any], field: str) -> list[str]:
    value = record[field]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise MalformedRowError(f"{field} is not a list of texts")
    return value


def _identifier(record: Mapping[str, Any], origin: Origin) -> str:
    for field in ("id", "task_id"):
        value = record.get(field)
        if isinstance(value, str) and value.strip():
            return value
        if isinstance(value, int):
            return f"{origin.dataset}/{value}"
    return origin.default_id


def _called(code: str, tests: str) -> str:
    """Return the name of the function in the code that the tests call, "" if there is none."""
    try:
        defined = {node.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef)}
        calls = [node.func for node in ast.walk(ast.parse(tests)) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError):
        return ""
    return next((call.id for call in calls if isinstance(call, ast.Name) and call.id in defined), "")
