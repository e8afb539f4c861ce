"""Writing a safetensors file from memory that is already there: no second copy, digested on the way.

`safetensors.torch.save_file` holds Python's lock while it writes, which would stop the training that a checkpoint is
written beside; reading is left to that library. The format: https://github.com/huggingface/safetensors#format.
"""

import errno
import fcntl
import hashlib
import json
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.manifest import FileEntry

_CHUNK_BYTES = 1 << 23
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


def write_blocks(path: Path, blocks: Sequence[Block], *, past_cache: bool = False) -> FileEntry:
    """Writes a safetensors file; returns its sha256 and size. Not yet synced to disk. Raises OSError.

    `past_cache` writes past the operating system's page cache where that is possible: a third of the processor time,
    and what training has in the cache stays there. Not for a file that is read again at once.
    """
    # Wide numbers first: readers map the file into memory, where each number must lie at a multiple of its size.
    ordered = sorted(blocks, key=lambda block: (-block.itemsize, block.name))
    header = _header(ordered)
    sha256 = hashlib.sha256()
    with _opened(path, past_cache=past_cache) as descriptor, mmap.mmap(-1, _CHUNK_BYTES) as chunk:
        filled = 0
        for part in (memoryview(header), *(block.content for block in ordered)):
            while part:
                taken = min(len(part), _CHUNK_BYTES - filled)
                chunk[filled : filled + taken] = part[:taken]
                filled, part = filled + taken, part[taken:]
                if filled == _CHUNK_BYTES:
                    _put(descriptor, chunk, filled, sha256)
                    filled = 0
        if filled:
            _through_cache(descriptor)  # What bypasses the cache must be whole disk blocks.
            _put(descriptor, chunk, filled, sha256)
    return FileEntry(sha256.hexdigest(), len(header) + sum(len(block.content) for block in ordered))


@contextmanager
def _opened(path: Path, *, past_cache: bool) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        descriptor = os.open(path, flags | (getattr(os, "O_DIRECT", 0) if past_cache else 0), 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.open(path, flags, 0o666)  # A file system that knows only the cache.
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _through_cache(descriptor: int) -> None:
    if hasattr(os, "O_DIRECT"):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)


def _put(descriptor: int, chunk: mmap.mmap, size: int, sha256: "hashlib._Hash") -> None:
    with memoryview(chunk) as whole, whole[:size] as content:
        sha256.update(content)
        written = os.write(descriptor, content)
        while written < size:
            _through_cache(descriptor)
            with content[written:] as rest:
                written += os.write(descriptor, rest)


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
