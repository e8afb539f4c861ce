"""Merge block by block: only a few blocks of rows are in memory at any moment, whatever the size of the model.

Each thread reads a block, computes and writes it, in memory of its own that is small enough to stay in a processor's
cache. So a merge takes little more than reading, writing and the multiplication.
"""

import dataclasses
import errno
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from projects_common.models.headers import TensorHeader
from torch import Tensor

from lora_retraining.base_model.loading import multiplies_bfloat16
from lora_retraining.merging.adapter import LowRankChange
from lora_retraining.merging.files import (
    SHARD_BYTES,
    Block,
    BlockFiles,
    disk_full,
    expected_headers,
    file_beginnings,
    write_index,
    written_bytes,
)
from lora_retraining.merging.rounding import BlockRounding, LayerChange, measure
from mlflow_plugin.errors import PhaseError

BLOCK_NUMBERS = {"cpu": 1 << 19, "cuda": 1 << 24}
_DEVICE_THREADS = 3
"""For a GPU: one block comes, one is computed, one goes."""
_MEASURED_BLOCKS, _MEASURED_NUMBERS = 8, 1 << 16
"""Rounding is measured in at most so many blocks of a weight, evenly spread, and so many numbers of each: measuring
takes longer than adding the change, and rows are alike.
"""
_TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Written:
    """The result of a merge.

    Attributes:
        headers: The tensors that were written.
        layers: The change of each layer, and its rounding.
        nonfinite: Numbers that are NaN or Inf, by tensor, if there are any.
        base_rounding: Share of the unchanged weights (Frobenius norm) that is lost if the base has more digits than
            the result; else 0.
    """

    headers: tuple[TensorHeader, ...]
    layers: tuple[LayerChange, ...]
    nonfinite: Mapping[str, int]
    base_rounding: float


@dataclass(frozen=True)
class _Merged:
    """The figures of one block; squares are sums over its numbers."""

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
    progress: Callable[[Sequence[Block]], Iterator[Block]] = iter,
) -> Written:
    """Write base + changes as safetensors into a folder, with an index if there are several files.

    The change is computed and added in float32 and rounded once, to `dtype` (bfloat16 or float32). If base and result
    are bfloat16 and the processor multiplies that, the adapter's two factors are rounded to it before. That adds 0.2%
    of the change to an error of which the result's rounding alone makes many times as much, and saves most of the time.
    The same input gives the same bytes on processors of one kind.

    Args:
        base: The tensors of the base.
        changes: Name of a weight -> its change.
        folder: An existing folder.
        dtype: Of the result's floating-point numbers.
        device: The device that computes.
        shard_bytes: Bytes of one file at most.
        progress: Yields the blocks and shows how many are done.

    Raises:
        PhaseError: A file cannot be read or the disk is full. The written part stays there.
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
        _merge_all(blocks, moved, tally, file_beginnings(targets), device, progress)
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
        """Return some rows of a weight with their change, in `dtype`; the weight may be overwritten."""
        if self.narrow is None:
            return weight.float().addmm_(self.left[rows], self.right).to(dtype)
        # One operation that adds up in float32 and rounds once.
        return weight.addmm_(self.narrow[0][rows], self.narrow[1])


def _blocks(source: TensorHeader, target: TensorHeader, changed: bool, numbers: int) -> Iterator[Block]:
    width = source.shape[1] if changed else 1
    total = source.count // max(1, width)
    step = max(1, numbers // width)
    every = max(1, total // (step * _MEASURED_BLOCKS))
    for number, first in enumerate(range(0, total, step)):
        yield Block(source, target, first, min(step, total - first), width, changed and number % every == 0)


def _merge_all(
    blocks: Sequence[Block],
    changes: Mapping[str, _Factors],
    tally: _Tally,
    file_headers: Mapping[Path, bytes],
    device: torch.device,
    progress: Callable[[Sequence[Block]], Iterator[Block]],
) -> None:
    """Read, compute and write all blocks; count their figures in their order, whatever the order of the threads."""
    under_way: deque[tuple[Block, Future[_Merged]]] = deque()

    def finish() -> None:
        block, merged = under_way.popleft()
        tally.add(block.source.name, merged.result())

    with (
        BlockFiles({block.source.file for block in blocks}, file_headers) as files,
        _computing_threads(device) as (threads, computer),
    ):
        try:
            for block in progress(blocks):
                change = changes.get(block.source.name)
                under_way.append((block, computer.submit(_merge, block, change, files, device)))
                if len(under_way) > 4 * threads:
                    finish()
            while under_way:
                finish()
        finally:
            for _, merged in under_way:
                merged.cancel()


@contextmanager
def _computing_threads(device: torch.device) -> Iterator[tuple[int, ThreadPoolExecutor]]:
    """Yield threads that each merge a block, and their number: on a CPU as many as torch would use for one
    operation.
    """
    before = torch.get_num_threads()
    threads = before if device.type == "cpu" else _DEVICE_THREADS
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as computer:
        try:
            yield threads, computer
        finally:
            computer.shutdown()
            torch.set_num_threads(before)


def _merge(block: Block, change: _Factors | None, files: BlockFiles, device: torch.device) -> _Merged:
    """Merge one block, write it, and return its figures."""
    raw = files.read(block)
    if block.source.dtype not in _TORCH:
        files.write(block, torch.frombuffer(raw, dtype=torch.uint8))
        return _Merged()
    before = torch.frombuffer(raw, dtype=_TORCH[block.source.dtype])
    dtype = _TORCH[block.target.dtype]
    if change is None:
        after, figures = _converted(before, dtype)
    else:
        weight, rows = before.view(block.length, block.width).to(device), slice(block.first, block.first + block.length)
        after, figures = _changed(weight, change, rows, dtype, block.measured)
    files.write(block, after)
    return dataclasses.replace(figures, nonfinite=_nonfinite(after))


def _converted(before: Tensor, dtype: torch.dtype) -> tuple[Tensor, _Merged]:
    """Return numbers that the adapter leaves alone in `dtype`, and what they lose if that has fewer digits."""
    after = before.to(dtype)
    if before.dtype == dtype or torch.promote_types(before.dtype, dtype) == dtype:
        return after, _Merged()
    base, lost = before.float(), after.float() - before.float()
    return after, _Merged(lost_square=float(lost.square().sum()), base_square=float(base.square().sum()))


def _changed(
    weight: Tensor, change: _Factors, rows: slice, dtype: torch.dtype, measured: bool
) -> tuple[Tensor, _Merged]:
    """Return some rows of a weight with their change, in `dtype`, and the rounding of a part of them. The weight may be
    overwritten.
    """
    if not measured:
        return change.add_to(weight, rows, dtype), _Merged()
    every = max(1, weight.numel() // _MEASURED_NUMBERS)
    before = weight[::every].to(dtype, copy=True)
    after = change.add_to(weight, rows, dtype)
    rounding = measure(before, change.left[rows][::every] @ change.right, after[::every])
    return after, _Merged(rounding=rounding)


def _nonfinite(numbers: Tensor) -> int:
    """Count NaN and Inf."""
    if not numbers.numel() or all(torch.isfinite(end) for end in torch.aminmax(numbers)):
        return 0
    return int((~torch.isfinite(numbers)).sum())
