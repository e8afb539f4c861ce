"""JSON files and tables: stable bytes, and faults that name the file."""

import json
from pathlib import Path

import pytest
from projects_common.files import read_json, read_json_lines, write_json, write_json_lines
from projects_common.report import table

from mlflow_plugin.errors import PhaseError


def test_equal_documents_give_equal_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    write_json({"b": "é", "a": [1.5]}, first)
    write_json({"a": [1.5], "b": "é"}, second)
    assert first.read_bytes() == second.read_bytes()
    assert read_json(first) == {"a": [1.5], "b": "é"}


def test_rows_come_back_in_their_order_without_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    write_json_lines(({"row": row} for row in range(3)), file)
    file.write_text(file.read_text() + "\n\n")
    assert read_json_lines(file) == [{"row": 0}, {"row": 1}, {"row": 2}]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({}) + "\n{half\n")
    with pytest.raises(PhaseError, match=r"rows\.jsonl, line 2"):
        read_json_lines(file)


@pytest.mark.parametrize("content", [None, "{half"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "document.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(PhaseError, match=r"document\.json"):
        read_json(file)


def test_a_cell_cannot_break_a_table() -> None:
    assert table(["text"], [["a|b\nc"]]).splitlines()[2] == "| a\\|b c |"
