"""Where the tensors of a merged model lie: in which file, at which place, and what stands before them."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import torch

from retraining.headers import FLOAT_BYTES, INDEX_FILE, SINGLE_FILE, TensorHeader

SHARD_BYTES = 5_000_000_000
"""The most that one file of the result holds, as transformers' `save_pretrained` does it."""
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16"}


def expected_headers(
    base: Sequence[TensorHeader], dtype: torch.dtype, folder: Path, shard_bytes: int
) -> list[TensorHeader]:
    """Where each tensor of the result will lie, in the base's order: floating-point numbers in `dtype`, others as they
    are. Files and index are those that transformers loads.
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
    """The first bytes of each file: https://github.com/huggingface/safetensors#format. Offsets count from the data."""
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
    """Which file holds which tensor, where there are several. None for a single file."""
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
    """What to tell when the disk of a folder holds less than the merged model needs."""
    return (
        f"the disk of {folder} is full: the merged model has {needed:,} bytes, {written:,} could be written, "
        f"{max(0, needed - written):,} are missing. Make room, or set TMPDIR to a folder on a bigger disk, and merge "
        "again. Nothing half written is kept."
    )
