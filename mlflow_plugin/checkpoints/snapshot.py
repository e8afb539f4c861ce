"""Copy a state into host memory, so that training continues while the copy is written.

The copies are kept from one checkpoint to the next: memory is allocated once, and unchanged tensors are recognized and
not stored again. Written here because `torch.distributed.checkpoint.async_save` stores every tensor each time.
"""

import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_plugin.checkpoints.encoding import Encoder
from mlflow_plugin.checkpoints.tensorfile import PAGE, Block, file_order

TENSORS_FILE = "tensors.safetensors"
ARRAYS_FILE = "arrays.safetensors"
FROZEN_FILES = {TENSORS_FILE: "frozen.safetensors", ARRAYS_FILE: "frozen_arrays.safetensors"}
"""File -> the file for unchanged values that would otherwise keep a large file of outdated values alive."""
_KIND = {file: file for file in FROZEN_FILES} | {frozen: file for file, frozen in FROZEN_FILES.items()}
_COMPARED_AT_ONCE = 1 << 24
"""How many numbers are compared at a time."""
_REALIGNED_BYTES = 1 << 20
"""Smaller tensors are not worth moving to another place in memory."""
_SMALL_BYTES = 1 << 14
"""Smaller tensors are always written: an earlier file must not have to stay for the sake of a random state."""


@dataclass
class _Copy:
    """The copy of one tensor or array.

    Attributes:
        buffer: The copy, in host memory.
        version: How often it has changed.
        stored_in: The file that holds this version (`step-000020/tensors.safetensors`), empty when none does.
        changes: Whether it changed after the first copy. It is then no longer compared.
    """

    buffer: Any
    version: int = 0
    stored_in: str = ""
    changes: bool = False


@dataclass(frozen=True)
class Layout:
    """How a state is divided into files.

    Attributes:
        blocks: File -> the tensors or arrays to write into it.
        elsewhere: Kind of file -> name -> the file of an earlier checkpoint that holds the tensor or array.
    """

    blocks: dict[str, list[Block]]
    elsewhere: dict[str, dict[str, str]]


@dataclass
class Snapshot:
    """A state at one moment: `tree` is its JSON; the tensors and arrays that it names are in the copies.

    Valid until the next `Snapshots.take`: write it before.

    Attributes:
        tree: The state as JSON.
        shared_memory: The tensors and arrays that overlap in memory, see `Encoder.shared_memory`.
    """

    tree: object
    shared_memory: list[list[dict[str, Any]]]
    _copies: dict[str, dict[str, _Copy]]
    _versions: dict[tuple[str, str], int]
    _stored_bytes: dict[str, int]
    _lock: threading.Lock = field(repr=False)

    def layout(self, folder: str) -> Layout:
        """Divide this state into files for the checkpoint `folder`.

        Written are the values that no earlier checkpoint holds, and the unchanged values of a file when they make up
        less than half of it, so that the file can be deleted.
        """
        blocks: dict[str, list[Block]] = {}
        elsewhere: dict[str, dict[str, str]] = {}
        with self._lock:
            for file, copies in self._copies.items():
                by_file: dict[str, list[Block]] = {}
                for name, copy in copies.items():
                    block = _block(name, copy.buffer)
                    small = len(block.content) < _SMALL_BYTES
                    by_file.setdefault("" if small else copy.stored_in, []).append(block)
                blocks[file] = by_file.pop("", [])
                elsewhere[file] = {}
                for stored_in, unchanged in by_file.items():
                    if 2 * _size(unchanged) < self._stored_bytes[stored_in]:
                        blocks.setdefault(FROZEN_FILES[file], []).extend(unchanged)
                        stored_in = f"{folder}/{FROZEN_FILES[file]}"
                    elsewhere[file] |= {block.name: stored_in for block in unchanged}
        return Layout({file: written for file, written in blocks.items() if written}, elsewhere)

    def mark_stored(self, layout: Layout, folder: str) -> None:
        """Note that the blocks of a layout are stored below `folder`, so that later snapshots refer to them there."""
        with self._lock:
            for file, blocks in layout.blocks.items():
                self._stored_bytes[f"{folder}/{file}"] = _size(blocks)
                for block in blocks:
                    copy = self._copies[_KIND[file]][block.name]
                    # The next snapshot may have changed it since.
                    if copy.version == self._versions[_KIND[file], block.name]:
                        copy.stored_in = f"{folder}/{file}"


class Snapshots:
    """Take snapshots of one state repeatedly into the same host memory, as large as the state's tensors and arrays.

    Unchanged values are neither copied nor stored again. A value that has changed once is assumed to change always and
    is no longer compared, so comparing costs time only where it saves a copy.
    """

    def __init__(self) -> None:
        self._copies: dict[str, dict[str, _Copy]] = {TENSORS_FILE: {}, ARRAYS_FILE: {}}
        self._stored_bytes: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, state: object) -> Snapshot:
        """Copy a state of plain values, tensors and arrays, on any device.

        Raises:
            PhaseError: A value has an unsupported type. The message names its key path.
        """
        encoder = Encoder()
        tree = encoder.encode(state)
        copies = {
            TENSORS_FILE: self._update(TENSORS_FILE, encoder.tensors, _TorchMemory),
            ARRAYS_FILE: self._update(ARRAYS_FILE, encoder.arrays, _NumpyMemory),
        }
        _synchronize(encoder.tensors.values())
        self._copies = copies
        versions = {(file, name): copy.version for file, by_name in copies.items() for name, copy in by_name.items()}
        return Snapshot(tree, encoder.shared_memory(), copies, versions, self._stored_bytes, self._lock)

    def _update(
        self, file: str, live: Mapping[str, Any], memory: "type[_TorchMemory | _NumpyMemory]"
    ) -> dict[str, _Copy]:
        previous, copies, changed = self._copies[file], {}, set()
        for name, value in live.items():
            copy = previous.get(name)
            if copy is None or not memory.fits(copy.buffer, value):
                copy = _Copy(memory.allocate(value, 0))
            elif not copy.changes and memory.equal(copy.buffer, value):
                copies[name] = copy
                continue
            copy.changes = copy.version > 0
            copies[name] = copy
            changed.add(name)
        self._align(copies, changed, live, memory)
        for name in changed:
            memory.fill(copies[name].buffer, live[name])
            with self._lock:
                copies[name].version += 1
                copies[name].stored_in = ""
        return copies

    def _align(self, copies: Mapping[str, _Copy], changed: set[str], live: Mapping[str, Any], memory: Any) -> None:
        """Give each copy the offset within a page that it will have in the file, so that it is written without copying.

        A copy is moved at most once: when it is known which values change.
        """
        offset = 0
        for name in sorted(copies, key=lambda name: file_order(name, copies[name].buffer.itemsize)):
            copy, size = copies[name], copies[name].buffer.nbytes
            if name in changed and size >= _REALIGNED_BYTES and memory.offset_in_page(copy.buffer) != offset % PAGE:
                copy.buffer = memory.allocate(live[name], offset % PAGE)
            if name in changed or size < _SMALL_BYTES or not copy.stored_in:
                offset += size


def _synchronize(tensors: Iterable[Any]) -> None:
    """Wait until all copies from GPUs have arrived. Each GPU has a queue of its own."""
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        sys.modules["torch"].cuda.synchronize(device)


class _TorchMemory:
    """Allocate, compare and fill copies of torch tensors."""

    @staticmethod
    def fits(buffer: Any, live: Any) -> bool:
        return bool(buffer.shape == live.shape and buffer.dtype == live.dtype)

    @staticmethod
    def allocate(live: Any, offset_in_page: int) -> Any:
        torch = sys.modules["torch"]
        # Pinned memory lets a GPU copy at full speed.
        memory = torch.empty(live.nbytes + PAGE, dtype=torch.uint8, pin_memory=live.is_cuda)
        start = (offset_in_page - memory.data_ptr()) % PAGE
        return memory[start : start + live.nbytes].view(live.dtype).view(live.shape)

    @staticmethod
    def offset_in_page(buffer: Any) -> int:
        return int(buffer.data_ptr() % PAGE)

    @staticmethod
    def equal(buffer: Any, live: Any) -> bool:
        torch = sys.modules["torch"]
        if not live.is_contiguous():
            return False
        # Compared bit by bit, as integers: 0.0 == -0.0 although their bits differ, and NaN != NaN.
        integer = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[live.element_size()]
        before, now = buffer.view(integer).reshape(-1), live.view(integer).reshape(-1)
        # In parts, since a GPU may have no memory left for the whole.
        parts = (slice(start, start + _COMPARED_AT_ONCE) for start in range(0, now.numel(), _COMPARED_AT_ONCE))
        return all(torch.equal(now[part], before[part].to(live.device)) for part in parts)

    @staticmethod
    def fill(buffer: Any, live: Any) -> None:
        buffer.copy_(live, non_blocking=live.is_cuda)


class _NumpyMemory:
    """Allocate, compare and fill copies of NumPy arrays (of uint8, see `Encoder`)."""

    @staticmethod
    def fits(buffer: Any, live: Any) -> bool:
        return bool(buffer.shape == live.shape)

    @staticmethod
    def allocate(live: Any, offset_in_page: int) -> Any:
        return live.copy()

    @staticmethod
    def offset_in_page(buffer: Any) -> int:
        return int(buffer.ctypes.data % PAGE)

    @staticmethod
    def equal(buffer: Any, live: Any) -> bool:
        return bool((buffer == live).all())

    @staticmethod
    def fill(buffer: Any, live: Any) -> None:
        buffer[...] = live


def _size(blocks: Iterable[Block]) -> int:
    return sum(len(block.content) for block in blocks)


def _block(name: str, buffer: Any) -> Block:
    """Return a copy's bytes without copying them again."""
    dtype, shape = str(buffer.dtype).removeprefix("torch."), tuple(buffer.shape)
    if hasattr(buffer, "element_size"):
        flat = buffer.reshape(-1).view(sys.modules["torch"].uint8).numpy()
    else:
        flat = buffer.reshape(-1)
    return Block(name, dtype, shape, buffer.itemsize, memoryview(flat).cast("B") if flat.size else memoryview(b""))
