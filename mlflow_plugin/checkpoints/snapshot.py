"""A state copied into host memory in the time that the copying takes; the copies are kept from one checkpoint to the
next, so that nothing is allocated twice and what did not change is known.
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
"""Where what does not change is put when it would otherwise keep a large file of outdated values alive."""
_KIND = {file: file for file in FROZEN_FILES} | {frozen: file for file, frozen in FROZEN_FILES.items()}
_COMPARED = 1 << 24
"""Numbers that are compared at a time."""
_MOVED_BYTES = 1 << 20
"""What is smaller is not worth another place in memory."""
_SMALL_BYTES = 1 << 14
"""What is smaller is always written: no earlier file shall have to stay for the sake of a random state."""


@dataclass
class _Copy:
    """One tensor's or array's copy. `version` counts its changes; `stored_in` names the file that holds this version
    (`step-000020/tensors.safetensors`), empty when none does.
    """

    buffer: Any
    version: int = 0
    stored_in: str = ""
    changes: bool = False


@dataclass(frozen=True)
class Layout:
    """What of a state is to be written, by file, and by kind of file and name where the rest lies."""

    blocks: dict[str, list[Block]]
    elsewhere: dict[str, dict[str, str]]


@dataclass
class Snapshot:
    """A state at one moment: `tree` is its JSON, and what it names lies in the copies, by file and name.

    Valid until the next `Snapshots.take`, so what is to be written must be written before.
    """

    tree: object
    _copies: dict[str, dict[str, _Copy]]
    _versions: dict[tuple[str, str], int]
    _stored_bytes: dict[str, int]
    _lock: threading.Lock = field(repr=False)

    def layout(self, folder: str) -> Layout:
        """How this state is stored as the checkpoint `folder`: what no earlier one holds is written, and what is all
        that is still needed of a file twice its size, so that the file can go.
        """
        blocks: dict[str, list[Block]] = {}
        elsewhere: dict[str, dict[str, str]] = {}
        with self._lock:
            for file, copies in self._copies.items():
                held: dict[str, list[Block]] = {}
                for name, copy in copies.items():
                    block = _block(name, copy.buffer)
                    small = len(block.content) < _SMALL_BYTES
                    held.setdefault("" if small else copy.stored_in, []).append(block)
                blocks[file] = held.pop("", [])
                elsewhere[file] = {}
                for place, kept in held.items():
                    if 2 * _size(kept) < self._stored_bytes[place]:
                        blocks.setdefault(FROZEN_FILES[file], []).extend(kept)
                        place = f"{folder}/{FROZEN_FILES[file]}"
                    elsewhere[file] |= {block.name: place for block in kept}
        return Layout({file: found for file, found in blocks.items() if found}, elsewhere)

    def mark_stored(self, layout: Layout, folder: str) -> None:
        """Says that what a layout writes is safely stored below `folder`; later snapshots refer to it there."""
        with self._lock:
            for file, blocks in layout.blocks.items():
                self._stored_bytes[f"{folder}/{file}"] = _size(blocks)
                for block in blocks:
                    copy = self._copies[_KIND[file]][block.name]
                    # The next snapshot may have changed it since.
                    if copy.version == self._versions[_KIND[file], block.name]:
                        copy.stored_in = f"{folder}/{file}"


class Snapshots:
    """Takes snapshots of one state, over and over, into the same memory: as much as the state's tensors and arrays.

    What is found unchanged is neither copied nor stored again. What changed once is taken to change always and is not
    compared any more, so comparing costs only where it saves.
    """

    def __init__(self) -> None:
        self._copies: dict[str, dict[str, _Copy]] = {TENSORS_FILE: {}, ARRAYS_FILE: {}}
        self._stored_bytes: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, state: object) -> Snapshot:
        """Copies a state of plain values, tensors and arrays. Raises PhaseError naming what cannot be saved."""
        encoder = Encoder()
        tree = encoder.encode(state)
        copies = {
            TENSORS_FILE: self._update(TENSORS_FILE, encoder.tensors, _TorchMemory),
            ARRAYS_FILE: self._update(ARRAYS_FILE, encoder.arrays, _NumpyMemory),
        }
        _await_copies(encoder.tensors.values())
        self._copies = copies
        versions = {(file, name): copy.version for file, held in copies.items() for name, copy in held.items()}
        return Snapshot(tree, copies, versions, self._stored_bytes, self._lock)

    def _update(
        self, file: str, live: Mapping[str, Any], memory: "type[_TorchMemory | _NumpyMemory]"
    ) -> dict[str, _Copy]:
        held, copies, changed = self._copies[file], {}, set()
        for name, value in live.items():
            copy = held.get(name)
            if copy is None or not memory.fits(copy.buffer, value):
                copy = _Copy(memory.allocate(value, 0))
            elif not copy.changes and memory.same(copy.buffer, value):
                copies[name] = copy
                continue
            copy.changes = copy.version > 0
            copies[name] = copy
            changed.add(name)
        self._place(copies, changed, live, memory)
        for name in changed:
            memory.fill(copies[name].buffer, live[name])
            with self._lock:
                copies[name].version += 1
                copies[name].stored_in = ""
        return copies

    def _place(self, copies: Mapping[str, _Copy], changed: set[str], live: Mapping[str, Any], memory: Any) -> None:
        """Lets what will be written lie in memory as it will in the file, relative to pages, so that the disk can take
        it from there. It is moved once, when it shows what changes.
        """
        offset = 0
        for name in sorted(copies, key=lambda name: file_order(name, copies[name].buffer.itemsize)):
            copy, size = copies[name], copies[name].buffer.nbytes
            if name in changed and size >= _MOVED_BYTES and memory.offset_in_page(copy.buffer) != offset % PAGE:
                copy.buffer = memory.allocate(live[name], offset % PAGE)
            if name in changed or size < _SMALL_BYTES or not copy.stored_in:
                offset += size


def _await_copies(tensors: Iterable[Any]) -> None:
    """Returns once what was copied from GPUs is there. Each has a queue of its own."""
    for device in {tensor.device for tensor in tensors if tensor.is_cuda}:
        sys.modules["torch"].cuda.synchronize(device)


class _TorchMemory:
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
    def same(buffer: Any, live: Any) -> bool:
        torch = sys.modules["torch"]
        if not live.is_contiguous():
            return False
        # As whole numbers: -0.0 and 0.0 are equal but not the same, a NaN is the same but not equal.
        kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[live.element_size()]
        before, now = buffer.view(kind).reshape(-1), live.view(kind).reshape(-1)
        # In parts, since a GPU may have no room for the whole.
        parts = (slice(start, start + _COMPARED) for start in range(0, now.numel(), _COMPARED))
        return all(torch.equal(now[part], before[part].to(live.device)) for part in parts)

    @staticmethod
    def fill(buffer: Any, live: Any) -> None:
        buffer.copy_(live, non_blocking=live.is_cuda)


class _NumpyMemory:
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
    def same(buffer: Any, live: Any) -> bool:
        return bool((buffer == live).all())

    @staticmethod
    def fill(buffer: Any, live: Any) -> None:
        buffer[...] = live


def _size(blocks: Iterable[Block]) -> int:
    return sum(len(block.content) for block in blocks)


def _block(name: str, buffer: Any) -> Block:
    """A copy as bytes, without copying it again."""
    dtype, shape = str(buffer.dtype).removeprefix("torch."), tuple(buffer.shape)
    if hasattr(buffer, "element_size"):
        flat = buffer.reshape(-1).view(sys.modules["torch"].uint8).numpy()
    else:
        flat = buffer.reshape(-1)
    return Block(name, dtype, shape, buffer.itemsize, memoryview(flat).cast("B") if flat.size else memoryview(b""))
