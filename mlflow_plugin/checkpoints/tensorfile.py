"""Writing a safetensors file from memory that is already there: no second copy, digested on the way.

`safetensors.torch.save_file` holds Python's lock while it writes, which would stop the training that a checkpoint is
written beside; reading is left to that library. The format: https://github.com/huggingface/safetensors#format.
"""

import ctypes
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
from typing import Self

from mlflow_plugin.store.manifest import FileEntry

_CHUNK_BYTES = 1 << 23
PAGE = mmap.PAGESIZE
_LARGE_BYTES = 1 << 20
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

    `past_cache` writes past the operating system's page cache where that is possible: a fraction of the processor time,
    and what training has in the cache stays there. Not for a file that is read again at once.
    """
    ordered = sorted(blocks, key=lambda block: file_order(block.name, block.itemsize))
    with _opened(path, past_cache=past_cache) as descriptor, _Stream(descriptor) as stream:
        stream.gather(memoryview(_header(ordered)))
        for block in ordered:
            stream.write(block.content)
        stream.end()
        return FileEntry(stream.sha256.hexdigest(), stream.size)


def file_order(name: str, itemsize: int) -> tuple[int, str]:
    """By this they lie in the file. Wide numbers come first: readers map the file into memory, where each number must
    lie at a multiple of its size.
    """
    return -itemsize, name


class _Stream:
    """Writes to an open file, in whole pages, and digests what it writes. `size` is what it was given so far."""

    def __init__(self, descriptor: int) -> None:
        self.sha256, self.size = hashlib.sha256(), 0
        self._descriptor, self._filled = descriptor, 0
        self._gathered = mmap.mmap(-1, _CHUNK_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._gathered.close()

    def write(self, content: memoryview) -> None:
        """Straight from memory what lies there, relative to pages, as in the file; the rest is gathered first."""
        begun = min(len(content), -self.size % PAGE)
        self.gather(content[:begun])
        pages = (len(content) - begun) // PAGE * PAGE
        if pages and _address(content) % PAGE == -begun % PAGE:
            self._flush()
            for start in range(begun, begun + pages, _CHUNK_BYTES):
                with content[start : min(start + _CHUNK_BYTES, begun + pages)] as part:
                    self._put(part)
            self.size, begun = self.size + pages, begun + pages
        self.gather(content[begun:])

    def gather(self, content: memoryview) -> None:
        self.size += len(content)
        while content:
            taken = min(len(content), _CHUNK_BYTES - self._filled)
            self._gathered[self._filled : self._filled + taken] = content[:taken]
            self._filled, content = self._filled + taken, content[taken:]
            if self._filled == _CHUNK_BYTES:
                self._flush()

    def end(self) -> None:
        _through_cache(self._descriptor)  # What is left is no whole page.
        self._flush()

    def _flush(self) -> None:
        with memoryview(self._gathered) as gathered, gathered[: self._filled] as part:
            self._put(part)
        self._filled = 0

    def _put(self, part: memoryview) -> None:
        self.sha256.update(part)
        written = os.write(self._descriptor, part)
        while written < len(part):
            _through_cache(self._descriptor)
            with part[written:] as rest:
                written += os.write(self._descriptor, rest)


def _address(content: memoryview) -> int:
    """Where it lies in memory; never at a page for what may only be read, which is little."""
    return 1 if content.readonly else ctypes.addressof(ctypes.c_char.from_buffer(content))


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
    # So that in a large file the first number begins at a page.
    text += b" " * (-(8 + len(text)) % (PAGE if offset >= _LARGE_BYTES else 8))
    return len(text).to_bytes(8, "little") + text


def _dtype_name(dtype: str) -> str:
    """`float32` -> `F32`, `uint8` -> `U8`."""
    if dtype in _DTYPE_NAMES:
        return _DTYPE_NAMES[dtype]
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return {"float": "F", "int": "I", "uint": "U"}[kind] + bits
