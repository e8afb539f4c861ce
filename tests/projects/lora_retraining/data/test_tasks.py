"""Tasks: written and read again, and what is no task refused with its line."""

import json
from pathlib import Path

import pytest
from lora_retraining.data.tasks import Task, read_tasks, task_row, write_tasks

from mlflow_plugin.errors import PhaseError

TASK = Task("demo/1", "demo", "code", "test", "Wie groß?\nSay.", "```python\nx\n```", "assert f(1)", "f", "def f(n):\n")


def test_tasks_come_back_as_they_were_one_a_line(tmp_path: Path) -> None:
    tasks = [TASK, Task("demo/2", "demo", "open", "train", "a", "b")]
    write_tasks(tasks, tmp_path / "tasks.jsonl")
    assert read_tasks(tmp_path / "tasks.jsonl") == tasks
    assert len((tmp_path / "tasks.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_task_becomes_a_row_of_one_question_and_its_answer() -> None:
    row = task_row(TASK)
    assert row["id"] == "demo/1"
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert [message["content"] for message in row["messages"]] == [TASK.prompt, TASK.answer]


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1]",
        b'{"id": "a"}',
        json.dumps({**vars(TASK), "kind": "poem"}).encode(),
        json.dumps({**vars(TASK), "split": 3}).encode(),
        json.dumps({**vars(TASK), "prompt": None}).encode(),
        json.dumps({**vars(TASK), "surplus": "x"}).encode(),
    ],
)
def test_a_line_that_holds_no_task_is_refused_with_its_number(tmp_path: Path, line: bytes) -> None:
    write_tasks([TASK], tmp_path / "tasks.jsonl")
    with open(tmp_path / "tasks.jsonl", "ab") as stream:
        stream.write(line)
    with pytest.raises(PhaseError, match=r"tasks\.jsonl:2 holds no task"):
        read_tasks(tmp_path / "tasks.jsonl")


def test_a_missing_or_binary_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.jsonl", "binary.jsonl"):
        with pytest.raises(PhaseError, match=name):
            read_tasks(tmp_path / name)
