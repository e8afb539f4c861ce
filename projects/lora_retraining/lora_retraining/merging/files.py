"""Lay out, read, write and verify the files of a merged model."""

import json
import os
import struct
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from projects_common.models.headers import FLOAT_BYTES, INDEX_FILE, SINGLE_FILE, TensorHeader, read_headers
from torch import Tensor

from mlflow_plugin.errors import PhaseError

SHARD_BYTES = 5_000_000_000
"""The most that one file of the result holds, as transformers' `save_pretrained` does it."""
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def expected_headers(
    base: Sequence[TensorHeader], dtype: torch.dtype, folder: Path, shard_bytes: int
) -> list[TensorHeader]:
    """Return the place of each tensor of the result, in the base's order: floating-point numbers in `dtype`, others as
    they are. Files and index are those that transformers loads.
    """
    from huggingface_hub.serialization import split_state_dict_into_shards_factory

    ordered = sorted(base, key=lambda header: (header.file.name, header.offset))
    sized = {h.name: (h, h.count * dtype.itemsize if h.dtype in FLOAT_BYTES else h.bytes) for h in ordered}
    split = split_state_dict_into_shards_factory(
        sized,
        get_storage_size=lambda entry: entry[1],
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    planned = []
    for file, names in split.filename_to_tensors.items():
        offset = 0
        # Wide numbers first: readers map the file into memory, where each must lie at a multiple of its size.
        for name in sorted(names, key=lambda name: -_itemsize(*sized[name])):
            header, size = sized[name]
            kind = _NAMES[dtype] if header.dtype in FLOAT_BYTES else header.dtype
            planned.append(TensorHeader(name, kind, header.shape, folder / file, offset, size))
            offset += size
    return _after_headers(planned)


def _itemsize(header: TensorHeader, size: int) -> int:
    return size // max(1, header.count)


def _after_headers(planned: list[TensorHeader]) -> list[TensorHeader]:
    lengths = {file: len(content) for file, content in file_beginnings(planned).items()}
    return [TensorHeader(h.name, h.dtype, h.shape, h.file, lengths[h.file] + h.offset, h.bytes) for h in planned]


def file_beginnings(planned: Sequence[TensorHeader]) -> dict[Path, bytes]:
    """Return the first bytes of each file: https://github.com/huggingface/safetensors#format. Offsets count from the
    data.
    """
    entries: dict[Path, dict[str, object]] = {}
    ends: dict[Path, int] = {}
    for header in planned:
        begin = ends.get(header.file, 0)
        ends[header.file] = begin + header.bytes
        file = entries.setdefault(header.file, {"__metadata__": {"format": "pt"}})
        file[header.name] = {
            "dtype": header.dtype,
            "shape": list(header.shape),
            "data_offsets": [begin, begin + header.bytes],
        }
    texts = {file: json.dumps(entry, separators=(",", ":")).encode() for file, entry in entries.items()}
    padded = {file: text + b" " * (-len(text) % 8) for file, text in texts.items()}
    return {file: struct.pack("<Q", len(text)) + text for file, text in padded.items()}


def write_index(headers: Sequence[TensorHeader], folder: Path) -> None:
    """Write the index of tensors to files, unless there is only one file."""
    if {header.file.name for header in headers} == {SINGLE_FILE}:
        return
    index = {
        "metadata": {"total_size": sum(header.bytes for header in headers)},
        "weight_map": {header.name: header.file.name for header in sorted(headers, key=lambda h: h.name)},
    }
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def written_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def disk_full(folder: Path, needed: int, written: int) -> str:
    """Return the message for a disk that holds less than the merged model needs."""
    return (
        f"the disk of {folder} is full: the merged model has {needed:,} bytes, {written:,} could be written, "
        f"{max(0, needed - written):,} are missing. Make room, or set TMPDIR to a folder on a bigger disk, and merge "
        "again. Nothing half written is kept."
    )


@dataclass(frozen=True)
class Block:
    """A run of numbers of one tensor, which is merged at once.

    Attributes:
        source: The tensor in the base.
        target: The tensor in the result.
        first: Its first row, or its first number if the tensor is no changed matrix.
        length: Rows, or numbers.
        width: Numbers in a row; 1 if there are no rows.
        measured: Measure the rounding in this block.
    """

    source: TensorHeader
    target: TensorHeader
    first: int
    length: int
    width: int
    measured: bool


class BlockFiles:
    """All files that are read or written, for several threads. Each thread has memory of its own to read into."""

    def __init__(self, sources: Iterable[Path], file_headers: Mapping[Path, bytes]) -> None:
        self._sources, self._file_headers = sources, file_headers
        self._open: dict[Path, int] = {}
        self._own = threading.local()
        self._stack = ExitStack()

    def __enter__(self) -> "BlockFiles":
        with self._stack as opening:
            for file in self._sources:
                self._open[file] = opening.enter_context(open(file, "rb", buffering=0)).fileno()
            for file, header in self._file_headers.items():
                self._open[file] = opening.enter_context(open(file, "wb", buffering=0)).fileno()
                self._put(file, memoryview(header), 0)
            self._stack = opening.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def read(self, block: Block) -> memoryview:
        """Return a block's bytes, in memory that the thread's next block reuses: new memory would cost as much as
        reading.

        Raises:
            PhaseError: The file ends before the block does.
        """
        source = block.source
        itemsize = source.bytes // source.count
        size, at = block.length * block.width * itemsize, source.offset + block.first * block.width * itemsize
        if len(getattr(self._own, "memory", b"")) < size:
            self._own.memory = memoryview(bytearray(size))
        content = rest = self._own.memory[:size]
        while rest:
            got = os.preadv(self._open[source.file], [rest], at)
            if not got:
                raise PhaseError(f"{source.file} ends within {source.name}. Fetch the base anew.")
            rest, at = rest[got:], at + got
        return content

    def write(self, block: Block, merged: Tensor) -> None:
        target = block.target
        itemsize = target.bytes // target.count
        content = memoryview(merged.cpu().reshape(-1).view(torch.uint8).numpy())
        self._put(target.file, content, target.offset + block.first * block.width * itemsize)

    def _put(self, file: Path, content: memoryview, at: int) -> None:
        while content:  # Less may be written than is given.
            put = os.pwrite(self._open[file], content, at)
            content, at = content[put:], at + put


@dataclass(frozen=True)
class Verification:
    """The facts of the files on disk. `problems` are sentences; none if all is well."""

    parameters: int
    tensor_bytes: int
    expected_bytes: int
    dtypes: Mapping[str, int]
    problems: tuple[str, ...]

    @property
    def size_matches(self) -> bool:
        return self.tensor_bytes == self.expected_bytes


def verify(folder: Path, base: Sequence[TensorHeader], dtype: str, base_folder: Path) -> Verification:
    """Read back the headers of a merged model and compare them with the base's.

    The expected size is the parameters times the bytes of one number, for the tensors of the base, to the byte. Beyond
    these a file has its header.

    Args:
        folder: The merged model.
        base: The tensors of the base.
        dtype: F32 or BF16.
        base_folder: The base, for its tokenizer.

    Raises:
        PhaseError: A file is missing or cut short.
    """
    written = {header.name: header for header in read_headers(folder)}
    wanted = {header.name: header for header in base}
    problems = []
    for name in sorted(wanted.keys() ^ written.keys()):
        problems.append(f"{name} is {'missing' if name in wanted else 'not in the base'}")
    for name in sorted(wanted.keys() & written.keys()):
        kind = dtype if wanted[name].dtype in FLOAT_BYTES else wanted[name].dtype
        if (written[name].shape, written[name].dtype) != (wanted[name].shape, kind):
            problems.append(f"{name} is {written[name].dtype} {written[name].shape}, not {kind} {wanted[name].shape}")
    expected = sum(h.count * FLOAT_BYTES[dtype] if h.dtype in FLOAT_BYTES else h.bytes for h in base)
    problems += [f"{name} differs from the base's" for name in _differing_files(folder, base_folder)]
    dtypes: dict[str, int] = {}
    for header in written.values():
        dtypes[header.dtype] = dtypes.get(header.dtype, 0) + header.count
    tensor_bytes = sum(file.stat().st_size - _header_bytes(file) for file in {h.file for h in written.values()})
    parameters = sum(header.count for header in written.values())
    return Verification(parameters, tensor_bytes, expected, dict(sorted(dtypes.items())), tuple(problems))


def _header_bytes(file: Path) -> int:
    with open(file, "rb") as stream:
        return 8 + int.from_bytes(stream.read(8), "little")


def _differing_files(folder: Path, base_folder: Path) -> list[str]:
    return [
        file.name
        for file in tokenizer_files(base_folder)
        if not (folder / file.name).is_file() or (folder / file.name).read_bytes() != file.read_bytes()
    ]


def tokenizer_files(folder: Path) -> list[Path]:
    """List the files of a tokenizer, with its chat template."""
    patterns = (
        *("tokenizer*", "*.jinja", "vocab.*", "merges.txt", "*.model"),
        *("special_tokens_map.json", "added_tokens.json"),
    )
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    return sorted(files)
