"""Local data files as records, one at a time, each with its place in the file."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from retraining.schemas import MalformedRowError
from retraining.tasks import Split

Record = tuple[int, Any]
"""The record's number in its file, from 1, and the record; in place of one that cannot be read, a MalformedRowError."""
LONGEST_CELL = 2**24
"""Characters in a cell of a CSV file; Python's own limit, 2**17, is less than a long document."""
COUNTED_BY_LINES = (".jsonl", ".csv")
"""Files whose records' numbers are line numbers."""


def data_files(place: Path, split: Split) -> list[Path]:
    """The file itself; of a folder the files whose names begin with the split's name, else all that hold data.

    Raises PhaseError when there are none.
    """
    files = [place] if place.is_file() else sorted(file for file in place.iterdir() if file.suffix in READERS)
    if not files or files[0].suffix not in READERS:
        raise PhaseError(f"{place} holds no data: there is no file that ends in {', '.join(READERS)}.")
    return [file for file in files if file.stem.lower().startswith(split)] or files


def read_records(file: Path) -> Iterator[Record]:
    """Every record of a file. Raises PhaseError when the file as a whole cannot be read."""
    try:
        yield from READERS[file.suffix](file)
    except (OSError, ValueError, RecursionError, NotImplementedError, csv.Error) as error:
        raise PhaseError(f"{file} cannot be read: {' '.join(str(error).split())[:300]}") from None


def _json_lines(file: Path) -> Iterator[Record]:
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _parsed(line)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return MalformedRowError(f"is not UTF-8: byte {error.start + 1} of the line is {line[error.start]:#04x}")
    except (ValueError, RecursionError) as error:
        return MalformedRowError(f"is not JSON: {error}")


def _json_array(file: Path) -> Iterator[Record]:
    records = json.loads(file.read_text(encoding="utf-8-sig"))
    if not isinstance(records, list):
        raise ValueError("it holds no JSON array of rows. One object a line belongs into a file called .jsonl.")
    yield from enumerate(records, start=1)


def _csv_rows(file: Path) -> Iterator[Record]:
    csv.field_size_limit(LONGEST_CELL)
    with open(file, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        for record in reader:
            if None in record or None in record.values():
                yield reader.line_num, MalformedRowError("has not the columns that the first line names")
            else:
                yield reader.line_num, record


def _parquet_rows(file: Path) -> Iterator[Record]:
    import pyarrow.parquet

    number = 0
    with pyarrow.parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(1024):
            for record in batch.to_pylist():
                number += 1
                yield number, record


READERS = {".jsonl": _json_lines, ".json": _json_array, ".parquet": _parquet_rows, ".csv": _csv_rows}
