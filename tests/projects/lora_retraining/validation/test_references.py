"""Transcripts: what somebody else answered, whatever state the file is in."""

import json
from pathlib import Path
from typing import Any

import pytest
from lora_retraining.data.tasks import Task
from lora_retraining.validation.references import read_items, read_transcript

from mlflow_plugin.errors import PhaseError

TASKS = [Task(f"t/{number}", "t", "math", "test", f"What is {number}?", str(number)) for number in range(3)]


def written(folder: Path, *rows: Any) -> Path:
    file = folder / "transcript.jsonl"
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return file


def test_tasks_are_found_by_id_or_by_prompt_and_missing_ones_are_listed(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"id": "t/0", "completion": "zero"},
        "",
        {"prompt": "What is 2?", "completion": "two"},
        {"id": "another/7", "completion": "seven"},
    )
    transcript = read_transcript(file, TASKS)
    assert transcript.completions == {"t/0": "zero", "t/2": "two"}
    assert transcript.missing == ("t/1",)


def test_every_malformed_line_is_named(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        {"id": "t/0", "completion": "0"},
        "{not json",
        {"id": "t/1"},
        {"completion": "1"},
        {"id": "t/0", "completion": "something else"},
        [1],
    )
    with pytest.raises(PhaseError) as refused:
        read_transcript(file, TASKS)
    message = str(refused.value)
    assert str(file) in message
    for line in ("line 2: no JSON object", "line 3: no text under `completion`", "line 4: neither", "line 5: another"):
        assert line in message
    assert "line 6: no JSON object" in message


def test_a_transcript_of_other_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="holds none of the 3 tasks"):
        read_transcript(written(tmp_path, {"id": "x", "completion": "y"}), TASKS)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="cannot be read"):
        read_transcript(tmp_path / "none.jsonl", TASKS)
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PhaseError, match="cannot be read"):
        read_transcript(binary, TASKS)


def test_a_text_may_hold_what_unicode_calls_the_end_of_a_line(tmp_path: Path) -> None:
    row = {"id": "t/0", "completion": "one\u2028two\x85three"}
    file = written(tmp_path, json.dumps(row, ensure_ascii=False))
    assert read_transcript(file, TASKS).completions == {"t/0": row["completion"]}


def test_a_line_that_is_nested_without_end_is_named(tmp_path: Path) -> None:
    with pytest.raises(PhaseError, match="line 1: no JSON object"):
        read_transcript(written(tmp_path, "[" * 100_000), TASKS)


def test_items_that_are_none_are_refused_with_their_line(tmp_path: Path) -> None:
    item = {"id": "t/0", "prompt": "p", "completion": "c", "grade": {"correct": True}}
    assert read_items(written(tmp_path, item)) == {"t/0": item}
    with pytest.raises(PhaseError, match="jsonl:2 is no item"):
        read_items(written(tmp_path, item, {"id": "t/1"}))
    with pytest.raises(PhaseError, match="jsonl:1 is no item"):
        read_items(written(tmp_path, {**item, "grade": None}))
