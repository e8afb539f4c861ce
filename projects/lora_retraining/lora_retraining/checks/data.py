"""Check the data to train on and to test with: present, well formed, encodable, and free of overlap."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_retraining.checks.checklist import Check
from lora_retraining.data.chat import IGNORED, encode_row, end_token_id
from lora_retraining.data.overlap import find_overlap
from lora_retraining.data.sources import load_examples, load_tasks
from lora_retraining.data.tasks import Task
from lora_retraining.settings import Settings
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import value_digest

LONG_WARNS, LONG_FAILS = 0.01, 0.2
"""Shares of rows longer than max_length from which data is pointed out, and refused."""
_FOR_LENGTHS = 2000
"""Rows whose tokens are counted; of more, so many spread evenly over all."""
_SHOWN = 10


@dataclass(frozen=True)
class Data:
    """Rows to train on as `{"id", "messages"}`, the tasks among them, and all tasks to test with."""

    rows: list[dict[str, Any]]
    train_tasks: list[Task]
    test_tasks: list[Task]


@dataclass(frozen=True)
class Lengths:
    """Lengths of the rows in tokens: the longest, the share above max_length, the share that ends with the end
    token.
    """

    longest: int
    too_long: float
    ended: float
    counted: int
    tokens: int


def load_data(settings: Settings) -> Data:
    """Load all data of the settings. Raise PhaseError if some is missing or rows are malformed."""
    examples = list(load_examples(settings.data, "train", settings.limit, settings.seed))
    rows = [example.row for example in examples]
    train_tasks = [example.task for example in examples if example.task is not None]
    test_tasks = [task for name in settings.test_data for task in load_tasks(name, "test", 0, settings.seed)]
    return Data(rows, train_tasks, [dataclasses.replace(task, split="test") for task in test_tasks])


def measure_lengths(tokenizer: Any, rows: Sequence[Mapping[str, Any]], max_length: int) -> Lengths:
    """Count the tokens of rows as training encodes them. Raise PhaseError that names a row which cannot be encoded."""
    end = end_token_id(tokenizer)
    chosen = [rows[place] for place in _spread(len(rows), _FOR_LENGTHS)]
    lengths, ended = [], 0
    for row in chosen:
        try:
            encoded = encode_row(tokenizer, row["messages"], 2**31)
        except PhaseError as error:
            raise PhaseError(f"row {row['id']}: {error}") from None
        lengths.append(len(encoded["input_ids"]))
        ended += encoded["labels"][-1] == end and any(label != IGNORED for label in encoded["labels"])
    too_long = sum(length > max_length for length in lengths)
    share = max(1, len(lengths))
    return Lengths(max(lengths, default=0), too_long / share, ended / share, len(lengths), sum(lengths))


def _spread(count: int, most: int) -> Iterable[int]:
    return range(count) if count <= most else sorted({number * count // most for number in range(most)})


def check_data(settings: Settings, data: Data, lengths: Lengths | None, problem: str = "") -> Check:
    """Check that there are rows and tasks. `lengths` is None without a tokenizer; `problem` is the error of
    encoding.
    """
    sets = ", ".join(f"{name}: {_count(data.test_tasks, name):,}" for name in _names(data.test_tasks))
    seen = f"{settings.data}: {len(data.rows):,} rows, {_size(settings, data)}, digest {value_digest(data.rows)[:12]}"
    seen += f"; test tasks: {sets or 'none'}"
    if not data.rows or not data.test_tasks:
        what = "train on" if not data.rows else "test with"
        return Check("data", "fail", seen, f"There is nothing to {what}: give other data.")
    if problem:
        return Check("data", "fail", f"{seen}; {problem}", "Fix the row, or take the tokenizer of a chat model.")
    if lengths is None:
        return Check("data", "warn", f"{seen}; not encoded, since there is no tokenizer", "Fix the model first.")
    seen += f"; {plan_sentence(settings, len(data.rows), lengths)}"
    seen += (
        f"; {lengths.ended:.0%} end with the end token; {lengths.too_long:.1%} exceed max_length={settings.max_length}"
    )
    if lengths.ended < 1 or lengths.too_long > LONG_FAILS:
        remedy = "Raise max_length, or shorten the rows." if lengths.ended == 1 else "Fix the chat template."
        return Check("data", "fail", seen, remedy)
    if lengths.too_long > LONG_WARNS:
        return Check("data", "warn", seen, "Longer rows are cut, and end without the end token: raise max_length.")
    return Check("data", "pass", seen)


def plan_sentence(settings: Settings, rows: int, lengths: Lengths) -> str:
    """Describe the steps of the optimizer in one line. For packed rows it is an estimate, by their tokens."""
    sequences = rows
    if settings.packing == "packed" and lengths.counted:
        tokens = lengths.tokens / lengths.counted * rows
        sequences = max(1, math.ceil(tokens / settings.max_length))
    per_epoch = max(1, math.ceil(math.ceil(sequences / settings.batch_size) / settings.accumulation))
    about = "about " if settings.packing == "packed" else ""
    return (
        f"{settings.batch_size} x {settings.accumulation} sequences a step make {about}{per_epoch:,} steps an epoch, "
        f"{math.ceil(settings.epochs * per_epoch):,} in {settings.epochs:g} epochs"
    )


def _names(tasks: Sequence[Task]) -> list[str]:
    return list(dict.fromkeys(task.dataset for task in tasks))


def _count(tasks: Sequence[Task], dataset: str) -> int:
    return sum(task.dataset == dataset for task in tasks)


def _size(settings: Settings, data: Data) -> str:
    place = Path(settings.data)
    if place.is_file():
        return f"{place.stat().st_size / 1e6:,.1f} MB"
    spoken = sum(len(message["content"].encode()) for row in data.rows for message in row["messages"])
    return f"{spoken / 1e6:,.1f} MB of text"


def check_overlap(data: Data) -> Check:
    """Compare every message of the training rows with the prompts of every test set."""
    messages = {
        f"{row['id']} {turn}": (row["id"], message["content"])
        for row in data.rows
        for turn, message in enumerate(row["messages"], start=1)
    }
    test = {f"{task.dataset}: {task.id}": task.prompt for task in data.test_tasks}
    matches = find_overlap({key: text for key, (_, text) in messages.items()}, test)
    overlaps = [dataclasses.replace(match, train_id=messages[match.train_id][0]) for match in matches]
    if not overlaps:
        seen = f"none of {len(data.rows):,} rows holds one of {len(test):,} test tasks, exactly or nearly"
        return Check("overlap", "pass", seen)
    exact = sum(overlap.kind == "exact" for overlap in overlaps)
    listed = ", ".join(f"{o.train_id} = {o.test_id} ({o.kind}, {o.similarity:.2f})" for o in overlaps[:_SHOWN])
    more = f" and {len(overlaps) - _SHOWN} more" if len(overlaps) > _SHOWN else ""
    return Check(
        "overlap",
        "fail",
        f"{len({overlap.train_id for overlap in overlaps})} rows hold test tasks, {exact} exactly: {listed}{more}",
        "Take these rows out of the training data: a task that was trained on cannot test.",
    )
