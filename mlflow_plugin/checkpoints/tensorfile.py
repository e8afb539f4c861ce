"""Write a safetensors file directly from existing buffers, without a second copy, and digest it meanwhile.

Own code because `safetensors.torch.save_file` holds the global interpreter lock while it writes, which would stop the
training loop. Files are read with that library. The format: https://github.com/huggingface/safetensors#format.
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
    """A tensor: its name, dtype (as torch or NumPy call it), shape, bytes per number, and its bytes in row order."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    itemsize: int
    content: memoryview


def write_blocks(path: Path, blocks: Sequence[Block], *, past_cache: bool = False) -> FileEntry:
    """Write a safetensors file. It is not yet synced to disk.

    Args:
        path: Overwritten when it exists.
        blocks: The tensors, in any order.
        past_cache: Bypass the operating system's page cache where possible. This takes a fraction of the processor
            time, and the data that training reads stays in the cache. Not for a file that is read again at once.

    Returns:
        The file's sha256 and size in bytes.

    Raises:
        OSError: The file cannot be written.
    """
    ordered = sorted(blocks, key=lambda block: file_order(block.name, block.itemsize))
    with _opened(path, past_cache=past_cache) as descriptor, _Stream(descriptor) as stream:
        stream.buffer(memoryview(_header(ordered)))
        for block in ordered:
            stream.write(block.content)
        stream.end()
        return FileEntry(stream.sha256.hexdigest(), stream.size)


def file_order(name: str, itemsize: int) -> tuple[int, str]:
    """Return the sort key of a tensor within the file.

    Wide numbers come first: readers memory-map the file, and each number must be at a multiple of its size.
    """
    return -itemsize, name


class _Stream:
    """Write to an open file in whole pages and digest the content. `size` counts the bytes received so far."""

    def __init__(self, descriptor: int) -> None:
        self.sha256, self.size = hashlib.sha256(), 0
        self._descriptor, self._filled = descriptor, 0
        self._buffer = mmap.mmap(-1, _CHUNK_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._buffer.close()

    def write(self, content: memoryview) -> None:
        """Write whole pages directly from memory when they have the same alignment in the file. Buffer the rest."""
        head = min(len(content), -self.size % PAGE)
        self.buffer(content[:head])
        pages = (len(content) - head) // PAGE * PAGE
        if pages and _address(content) % PAGE == -head % PAGE:
            self._flush()
            for start in range(head, head + pages, _CHUNK_BYTES):
                with content[start : min(start + _CHUNK_BYTES, head + pages)] as part:
                    self._put(part)
            self.size, head = self.size + pages, head + pages
        self.buffer(content[head:])

    def buffer(self, content: memoryview) -> None:
        """Copy content into the buffer, which is written whenever it is full."""
        self.size += len(content)
        while content:
            copied = min(len(content), _CHUNK_BYTES - self._filled)
            self._buffer[self._filled : self._filled + copied] = content[:copied]
            self._filled, content = self._filled + copied, content[copied:]
            if self._filled == _CHUNK_BYTES:
                self._flush()

    def end(self) -> None:
        """Write the rest of the buffer, which is not a whole page."""
        _use_page_cache(self._descriptor)
        self._flush()

    def _flush(self) -> None:
        with memoryview(self._buffer) as buffer, buffer[: self._filled] as part:
            self._put(part)
        self._filled = 0

    def _put(self, part: memoryview) -> None:
        self.sha256.update(part)
        written = os.write(self._descriptor, part)
        while written < len(part):
            _use_page_cache(self._descriptor)  # A partial write has ended within a page.
            with part[written:] as rest:
                written += os.write(self._descriptor, rest)


def _address(content: memoryview) -> int:
    """Return the address in memory. Read-only content, which is small, gets one that is never page-aligned."""
    return 1 if content.readonly else ctypes.addressof(ctypes.c_char.from_buffer(content))


@contextmanager
def _opened(path: Path, *, past_cache: bool) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        descriptor = os.open(path, flags | (getattr(os, "O_DIRECT", 0) if past_cache else 0), 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        descriptor = os.open(path, flags, 0o666)  # This file system cannot bypass the cache.
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _use_page_cache(descriptor: int) -> None:
    if hasattr(os, "O_DIRECT"):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)


def _header(blocks: Sequence[Block]) -> bytes:
    entries, offset = {}, 0
    for block in blocks:
        end = offset + len(block.content)
        entries[block.name] = {
            "dtype": _dtype_name(block.dtype),
            "shape": list(block.shape),
            "data_offsets": [offset, end],
        }
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode("utf-8")
    # Padded, so that the first number of a large file is at the beginning of a page.
    text += b" " * (-(8 + len(text)) % (PAGE if offset >= _LARGE_BYTES else 8))
    return len(text).to_bytes(8, "little") + text


def _dtype_name(dtype: str) -> str:
    """Return the name of a dtype in a safetensors header.

    >>> _dtype_name("float32"), _dtype_name("uint8"), _dtype_name("bfloat16")
    ('F32', 'U8', 'BF16')
    """
    if dtype in _DTYPE_NAMES:
        return _DTYPE_NAMES[dtype]
    kind, bits = dtype.rstrip("0123456789"), dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return {"float": "F", "int": "I", "uint": "U"}[kind] + bits
