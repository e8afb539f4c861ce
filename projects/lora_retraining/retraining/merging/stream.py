"""Merging block by block: what is in memory at any moment is a few blocks of rows, whatever the size of the model.

One thread reads ahead, one writes behind, and in between as many compute as torch may use, each a block of its own: a
merge takes little longer than reading and writing. Blocks are small enough to stay in a processor's cache.
"""

import errno
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from mlflow_plugin.errors import PhaseError
from retraining.headers import FLOAT_BYTES, TensorHeader
from retraining.merging.adapter import LowRankChange
from retraining.merging.rounding import BlockRounding, LayerChange, measure
from retraining.merging.shards import (
    SHARD_BYTES,
    disk_full,
    expected_headers,
    file_beginnings,
    write_index,
    written_bytes,
)
from retraining.training.precision import multiplies_bfloat16

BLOCK_NUMBERS = {"cpu": 1 << 18, "cuda": 1 << 24}
_AHEAD = 4
"""Blocks that are read ahead, or wait to be written."""
_MEASURED = 8
"""Blocks of a weight that tell what rounding does, evenly spread; looking takes longer than adding the change, and rows
are alike. Of smaller weights all do.
"""
_TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Written:
    """What came of a merge. `nonfinite`: numbers of the result that are NaN or Inf, by tensor, where there are any.

    `base_rounding`: part of the unchanged weights (Frobenius norm) that is lost because the base has more digits than
    the result; 0 where it has not.
    """

    headers: tuple[TensorHeader, ...]
    layers: tuple[LayerChange, ...]
    nonfinite: Mapping[str, int]
    base_rounding: float


@dataclass(frozen=True)
class _Block:
    source: TensorHeader
    target: TensorHeader
    first: int
    """Of its rows, or of its numbers where the tensor is no changed matrix."""
    length: int
    width: int
    """Numbers in a row; 1 where there are no rows."""
    measured: bool


@dataclass(frozen=True)
class _Merged:
    """The bytes to write for a block, and what is to be told of it; squares are sums over its numbers."""

    content: memoryview
    nonfinite: int = 0
    rounding: BlockRounding | None = None
    lost_square: float = 0.0
    base_square: float = 0.0


@dataclass
class _Tally:
    layers: dict[str, LayerChange]
    nonfinite: dict[str, int] = field(default_factory=dict)
    lost_square: float = 0.0
    base_square: float = 0.0

    def add(self, name: str, merged: _Merged) -> None:
        if merged.rounding is not None:
            self.layers[name].add(merged.rounding)
        if merged.nonfinite:
            self.nonfinite[name] = self.nonfinite.get(name, 0) + merged.nonfinite
        self.lost_square += merged.lost_square
        self.base_square += merged.base_square


def write_merged(
    base: Sequence[TensorHeader],
    changes: Mapping[str, LowRankChange],
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[Sequence[_Block]], Iterator[_Block]] = iter,
) -> Written:
    """Writes base + changes as safetensors into a folder, with an index where there are several files.

    The change is computed and added in float32 and rounded once, to `dtype` (bfloat16 or float32). Where base and
    result are bfloat16 and the processor multiplies that, the adapter's two factors are rounded to it before: that adds
    0.2% of the change to an error of which the result's rounding alone makes many times as much, and saves most of the
    time. The same input gives the same bytes on processors that do alike.

    Raises PhaseError when a file cannot be read or the disk is full; what was written stays there.
    """
    targets = expected_headers(base, dtype, folder, shard_bytes)
    sources = {header.name: header for header in base}
    numbers = BLOCK_NUMBERS.get(device.type, BLOCK_NUMBERS["cuda"])
    blocks = [b for target in targets for b in _blocks(sources[target.name], target, target.name in changes, numbers)]
    fused = dtype == torch.bfloat16 and (device.type != "cpu" or multiplies_bfloat16())
    moved = {
        name: _Factors.of(change, device, fused and sources[name].dtype == "BF16") for name, change in changes.items()
    }
    tally = _Tally({n: LayerChange(c.module, sources[n].count, c.largest_singular_value) for n, c in changes.items()})
    try:
        _pump(blocks, moved, tally, file_beginnings(targets), device, progress)
        write_index(targets, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PhaseError(disk_full(folder, sum(t.bytes for t in targets), written_bytes(folder))) from None
        raise PhaseError(f"the merged model could not be written to {folder}: {error}. Merge it again.") from None
    rounding = (tally.lost_square / tally.base_square) ** 0.5 if tally.base_square else 0.0
    return Written(tuple(targets), tuple(tally.layers.values()), tally.nonfinite, rounding)


@dataclass(frozen=True)
class _Factors:
    """The two factors of a change on the device, in float32 and, where the product is to be fused, in bfloat16."""

    left: Tensor
    right: Tensor
    narrow: tuple[Tensor, Tensor] | None

    @classmethod
    def of(cls, change: LowRankChange, device: torch.device, fused: bool) -> "_Factors":
        left, right = change.left.to(device), change.right.to(device)
        return cls(left, right, (left.bfloat16(), right.bfloat16()) if fused else None)

    def add_to(self, weight: Tensor, rows: slice, dtype: torch.dtype) -> Tensor:
        """Some rows of a weight with their change, in `dtype`; the weight may be used up."""
        if self.narrow is None:
            return weight.float().addmm_(self.left[rows], self.right).to(dtype)
        # One operation that adds up in float32 and rounds once.
        return weight.addmm_(self.narrow[0][rows], self.narrow[1])


def _blocks(source: TensorHeader, target: TensorHeader, changed: bool, numbers: int) -> Iterator[_Block]:
    width = source.shape[1] if changed else 1
    total = source.count // max(1, width)
    step = max(1, numbers // width)
    every = max(1, total // (step * _MEASURED))
    for number, first in enumerate(range(0, total, step)):
        yield _Block(source, target, first, min(step, total - first), width, changed and number % every == 0)


def _pump(
    blocks: Sequence[_Block],
    changes: Mapping[str, _Factors],
    tally: _Tally,
    file_headers: Mapping[Path, bytes],
    device: torch.device,
    progress: Callable[[Sequence[_Block]], Iterator[_Block]],
) -> None:
    """Reads, computes and writes all blocks; written and told in their order, whoever was ready first."""
    files = _Files(file_headers)
    under_way: deque[tuple[_Block, Future[memoryview], Future[_Merged], Future[None]]] = deque()

    def finish() -> None:
        block, read, merged, written = under_way.popleft()
        written.result()
        tally.add(block.source.name, merged.result())
        files.done_with(read.result())

    with (
        ThreadPoolExecutor(1) as reader,
        _computing_threads(device) as (computer, threads),
        ThreadPoolExecutor(1) as writer,
    ):
        try:
            for block in progress(blocks):
                read = reader.submit(files.read, block)
                merged = computer.submit(_merged, block, read, changes.get(block.source.name), device)
                under_way.append((block, read, merged, writer.submit(files.write, block, merged)))
                if len(under_way) > 2 * (_AHEAD + threads):
                    finish()
            while under_way:
                finish()
        finally:
            for _, read, merged, written in under_way:
                read.cancel()
                merged.cancel()
                written.cancel()
            writer.shutdown()
            reader.shutdown()
            files.close()


@contextmanager
def _computing_threads(device: torch.device) -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """Threads that compute one block each, and how many: on a CPU as many as torch would use for one operation."""
    before = torch.get_num_threads()
    threads = before if device.type == "cpu" else 1
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as computer:
        try:
            yield computer, threads
        finally:
            computer.shutdown()
            torch.set_num_threads(before)


class _Files:
    """The files that are read and written, one of each at a time; `read` and `write` each stay in one thread."""

    def __init__(self, file_headers: Mapping[Path, bytes]) -> None:
        self._headers = file_headers
        self._source: BinaryIO | None = None
        self._target: BinaryIO | None = None
        self._used: dict[int, list[memoryview]] = {}
        """Memory of blocks that are done with, by its size: new memory for each would cost as much as reading."""

    def done_with(self, content: memoryview) -> None:
        self._used.setdefault(len(content), []).append(content)

    def read(self, block: _Block) -> memoryview:
        source = block.source
        if self._source is None or self._source.name != str(source.file):
            if self._source is not None:
                self._source.close()
            self._source = open(str(source.file), "rb", buffering=0)  # noqa: SIM115 - closed by `close`
        itemsize = source.bytes // source.count
        size = block.length * block.width * itemsize
        used = self._used.get(size)
        content = used.pop() if used else memoryview(bytearray(size))
        self._source.seek(source.offset + block.first * block.width * itemsize)
        rest = content
        while rest:
            got = self._source.readinto(rest)
            if not got:
                raise PhaseError(f"{source.file} ends within {source.name}. Fetch the base anew.")
            rest = rest[got:]
        return content

    def write(self, block: _Block, merged: Future[_Merged]) -> None:
        content = merged.result().content
        file = block.target.file
        if self._target is None or self._target.name != str(file):
            if self._target is not None:
                self._target.close()
            self._target = open(str(file), "wb", buffering=0)  # noqa: SIM115 - closed by `close`
            self._put(memoryview(self._headers[file]))
        self._put(content)

    def _put(self, content: memoryview) -> None:
        while content:  # A file without a buffer may take less than it is given.
            content = content[self._target.write(content) :]

    def close(self) -> None:
        for file in (self._source, self._target):
            if file is not None:
                file.close()


def _merged(block: _Block, read: Future[memoryview], change: _Factors | None, device: torch.device) -> _Merged:
    """What becomes of a block of the base's bytes. Those are used up."""
    raw = read.result()
    if block.source.dtype not in _TORCH:
        return _Merged(raw)
    before = torch.frombuffer(raw, dtype=_TORCH[block.source.dtype])
    dtype = _TORCH[block.target.dtype]
    if change is None:
        after = before.to(dtype)
        lost = base = 0.0
        if FLOAT_BYTES[block.source.dtype] > dtype.itemsize or block.source.dtype == "F16":
            base = float(before.float().square().sum())
            lost = float((after.float() - before.float()).square().sum())
        return _Merged(_bytes_of(after), _nonfinite(after), lost_square=lost, base_square=base)
    weight, rows = before.view(block.length, block.width).to(device), slice(block.first, block.first + block.length)
    if not block.measured:
        after = change.add_to(weight, rows, dtype)
        return _Merged(_bytes_of(after), _nonfinite(after))
    before = weight.to(dtype, copy=True)
    after = change.add_to(weight, rows, dtype)
    rounding = measure(before, change.left[rows] @ change.right, after)
    return _Merged(_bytes_of(after), _nonfinite(after), rounding)


def _nonfinite(after: Tensor) -> int:
    """Numbers that are NaN or Inf. The smallest and the largest tell whether there are any, and are found faster."""
    if not after.numel() or all(torch.isfinite(end) for end in torch.aminmax(after)):
        return 0
    return int((~torch.isfinite(after)).sum())


def _bytes_of(tensor: Tensor) -> memoryview:
    return memoryview(tensor.cpu().reshape(-1).view(torch.uint8).numpy())
