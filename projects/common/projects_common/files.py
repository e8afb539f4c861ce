"""Read and write JSON and JSON lines: the same content gives the same bytes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError


def write_json(document: Any, file: Path, indent: int = 1) -> None:
    """Write a document with sorted keys, in UTF-8."""
    text = json.dumps(document, indent=indent, sort_keys=True, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def read_json(file: Path) -> Any:
    """Return the document of a file.

    Raises:
        PhaseError: the file is missing or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhaseError(f"{file} cannot be read: {error}. Run the phase that writes it again.") from None


def write_json_lines(rows: Iterable[Any], file: Path, *, sort_keys: bool = False) -> None:
    """Write one document a line, in UTF-8. Rows may come from a generator: only one is held at a time."""
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, sort_keys=sort_keys) + "\n" for row in rows)


def read_json_lines(file: Path) -> list[Any]:
    """Return the documents of a file, one for each line that is not blank.

    Raises:
        PhaseError: the file is missing, or a line is not JSON; the message names the line.
    """
    rows = []
    try:
        with open(file, encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    try:
                        rows.append(json.loads(line))
                    except ValueError as error:
                        raise PhaseError(f"{file}, line {number} is not JSON: {error}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise PhaseError(f"{file} cannot be read: {error}. Run the phase that writes it again.") from None
    return rows
