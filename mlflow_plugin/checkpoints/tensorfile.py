"""Writing a safetensors file from memory that is already there: no second copy, digested on the way.

`safetensors.torch.save_file` holds Python's lock while it writes, which would stop the training that a checkpoint is
written beside; reading is left to that library. The format: https://github.com/huggingface/safetensors#format.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.manifest import FileEntry

_CHUNK_BYTES = 1 << 22
_DTYPE_NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
}


@dataclass(frozen=True)
class Block:
    """A tensor's name, dtype (as torch or NumPy call it), shape, bytes per number, and its bytes in row order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    itemsize: int
    content: memoryview


def write_blocks(path: Path, blocks: Sequence[Block]) -> FileEntry:
    """Writes a safetensors file; returns its sha256 and size. Not yet synced to disk. Raises OSError."""
    # Wide numbers first: readers map the file into memory, where each number must lie at a multiple of its size.
    ordered = sorted(blocks, key=lambda block: (-block.itemsize, block.name))
    header = _header(ordered)
    sha256 = hashlib.sha256(header)
    with open(path, "wb", buffering=0) as file:
        file.write(header)
        for block in ordered:
            for start in range(0, len(block.content), _CHUNK_BYTES):
                chunk = block.content[start : start + _CHUNK_BYTES]
                sha256.update(chunk)
                while chunk:
                    chunk = chunk[file.write(chunk) :]
    return FileEntry(sha256.hexdigest(), len(header) + sum(len(block.content) for block in ordered))


def _header(blocks: Sequence[Block]) -> bytes:
    described, offset = {}, 0
    for block in blocks:
        end = offset + len(block.content)
        described[block.name] = {
            "dtype": _dtype_name(block.dtype),
            "shape": list(block.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(described, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _dtype_name(dtype: str) -> str:
    """`float32` -> `F32`, `uint8` -> `U8`."""
    if dtype in _DTYPE_NAMES:
        return _DTYPE_NAMES[dtype]
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return {"float": "F", "int": "I", "uint": "U"}[kind] + bits
