"""Describe the memory of tensors and arrays, find those that share it, and make tensors that share it again.

Written here because neither safetensors nor NumPy keep it: two overlapping views come back as two separate tensors, and
a loop that changes one of them then no longer changes the other.
"""

import math
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """The memory of one tensor or array.

    Attributes:
        library: `torch` or `numpy`.
        device: The device of the memory, as torch names it.
        address: The address of the first number, in bytes.
        shape: As of the tensor.
        strides: Bytes from one number to the next, by dimension.
        dtype: As the library names it.
        itemsize: Bytes of a number.
        conjugate: Whether the numbers are the conjugates of those in memory.
        negative: Whether the numbers are the negatives of those in memory.
    """

    library: str
    device: str
    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str
    itemsize: int
    conjugate: bool = False
    negative: bool = False

    @property
    def low(self) -> int:
        """The address of the first byte."""
        return self.address + sum(min(0, stride * (size - 1)) for size, stride in self._steps)

    @property
    def high(self) -> int:
        """The address after the last byte."""
        return self.address + sum(max(0, stride * (size - 1)) for size, stride in self._steps) + self.itemsize

    @property
    def _steps(self) -> Iterable[tuple[int, int]]:
        return zip(self.shape, self.strides, strict=True)

    def overlaps(self, other: "View") -> bool:
        """Return whether the two ranges of memory overlap. Views that interleave count as overlapping."""
        return self.device == other.device and self.low < other.high and other.low < self.high

    def shifted(self, distance: int) -> "View":
        """Return the same view at another address."""
        return replace(self, address=self.address + distance)

    def as_json(self) -> dict[str, Any]:
        """Return the view for `view_from_json`, without its device."""
        return {name: value for name, value in asdict(self).items() if name != "device"}


def view_of(value: object) -> View | None:
    """Return the memory of a tensor or array, None for other values and for those without numbers in memory."""
    torch, np = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.layout is not torch.strided or value.is_meta or not value.numel() or not value.data_ptr():
            return None
        size = value.element_size()
        return View(
            "torch",
            str(value.device),
            value.data_ptr(),
            tuple(value.shape),
            tuple(step * size for step in value.stride()),
            str(value.dtype).removeprefix("torch."),
            size,
            value.is_conj(),
            value.is_neg(),
        )
    if np is not None and isinstance(value, np.ndarray) and value.size:
        address = value.__array_interface__["data"][0]
        return View("numpy", "cpu", address, value.shape, value.strides, value.dtype.str, value.itemsize)
    return None


def view_from_json(described: Mapping[str, Any]) -> View:
    """Return the view that `View.as_json` described. Input of another origin raises KeyError, TypeError, ValueError."""
    view = View(
        str(described["library"]),
        "cpu",
        int(described["address"]),
        tuple(int(size) for size in described["shape"]),
        tuple(int(step) for step in described["strides"]),
        str(described["dtype"]),
        int(described["itemsize"]),
        bool(described["conjugate"]),
        bool(described["negative"]),
    )
    if len(view.shape) != len(view.strides) or view.low < 0 or min((1, *view.shape)) < 1:
        raise ValueError(f"no tensor can have the shape {view.shape} and the strides {view.strides}")
    return view


def overlapping(viewed: Iterable[tuple[T, View]]) -> list[list[tuple[T, View]]]:
    """Group views by the memory that they share, directly or through others. The order inside a group is the given."""
    numbered = sorted(enumerate(viewed), key=lambda item: (item[1][1].device, item[1][1].low))
    groups: list[list[tuple[int, tuple[T, View]]]] = []
    device, high = "", 0
    for number, (value, view) in numbered:
        if groups and view.device == device and view.low < high:
            high = max(high, view.high)
            groups[-1].append((number, (value, view)))
        else:
            device, high = view.device, view.high
            groups.append([(number, (value, view))])
    return [[item for _, item in sorted(group, key=lambda one: one[0])] for group in groups]


class Ranges:
    """A set of ranges of memory."""

    def __init__(self) -> None:
        self._lows: dict[str, list[int]] = {}
        self._highs: dict[str, list[int]] = {}

    def overlaps(self, view: View) -> bool:
        """Return whether a view has a byte in one of the ranges."""
        position = bisect_left(self._lows.get(view.device, []), view.high)
        return position > 0 and self._highs[view.device][position - 1] > view.low

    def add(self, view: View) -> None:
        """Add the range of a view, and join those that it overlaps."""
        lows, highs = self._lows.setdefault(view.device, []), self._highs.setdefault(view.device, [])
        first, last = bisect_right(highs, view.low), bisect_left(lows, view.high)
        joined = (min([view.low, *lows[first:last]]), max([view.high, *highs[first:last]]))
        lows[first:last], highs[first:last] = [joined[0]], [joined[1]]


def memory_for(views: Sequence[View], device: str = "cpu") -> tuple[Any, int]:
    """Return new memory that can hold all the views, as a tensor or array of bytes, and how far they have to shift."""
    low, high = min(view.low for view in views), max(view.high for view in views)
    # Numbers stay at multiples of their size.
    low -= low % math.lcm(*(view.itemsize for view in views))
    if device != "cpu" or any(view.library == "torch" for view in views):
        import torch

        memory: Any = torch.zeros(high - low, dtype=torch.uint8, device=device)
        return memory, memory.data_ptr() - low
    import numpy as np

    memory = np.zeros(high - low, dtype=np.uint8)
    return memory, memory.__array_interface__["data"][0] - low


def placed(anchor: Any, view: View) -> Any:
    """Return a tensor or array with the memory of a view, which must lie within the memory that `anchor` belongs to.

    Args:
        anchor: A tensor or array.
        view: Its memory, in the storage of the tensor, or in the array that `anchor` is a part of.

    Returns:
        The tensor or array, None when its memory would lie elsewhere, or cannot be addressed by its library.
    """
    torch: Any = sys.modules.get("torch")
    of_torch = torch is not None and isinstance(anchor, torch.Tensor)
    root = anchor if of_torch else _root(anchor)
    if of_torch or (torch is not None and isinstance(root, torch.Tensor)):
        storage = root.untyped_storage()
        start, size = storage.data_ptr(), storage.nbytes()
    else:
        flat = _bytes(root)
        if flat is None:
            return None
        storage, start, size = None, flat.__array_interface__["data"][0], flat.nbytes
    if view.low < start or view.high > start + size:
        return None
    if view.library == "torch":
        if storage is None:
            storage = torch.from_numpy(flat).untyped_storage()
        return _tensor(torch, storage, view, view.address - start, root.device if of_torch else "cpu")
    import numpy as np

    if storage is not None:
        flat = torch.empty(0, dtype=torch.uint8).set_(storage, 0, (size,), (1,)).numpy()
    dtype = np.dtype(view.dtype)
    if dtype.hasobject:
        raise ValueError("an array of Python objects is not supported")
    return np.ndarray(view.shape, dtype, flat, view.address - start, view.strides)


def fill(place: Any, content: Any) -> None:
    """Copy numbers into a tensor or array of the same library, shape and dtype, on any device."""
    if not hasattr(place, "copy_"):
        place[...] = content
        return
    place = place.detach()
    for dimension, (size, step) in enumerate(zip(place.shape, place.stride(), strict=True)):
        if step == 0 and size > 1:  # An expanded tensor: torch refuses to write one number several times.
            place, content = place.narrow(dimension, 0, 1), content.narrow(dimension, 0, 1)
    place.copy_(content)


def _tensor(torch: Any, storage: Any, view: View, offset: int, device: Any) -> Any:
    dtype = getattr(torch, view.dtype)
    if not isinstance(dtype, torch.dtype) or dtype.itemsize != view.itemsize:
        raise ValueError(f"torch.{view.dtype} is not a dtype of {view.itemsize} bytes")
    if any(number % view.itemsize or number < 0 for number in (offset, *view.strides)):
        return None
    strides = tuple(step // view.itemsize for step in view.strides)
    tensor = torch.empty(0, dtype=dtype, device=device).set_(storage, offset // view.itemsize, view.shape, strides)
    tensor = tensor.conj() if view.conjugate else tensor
    return torch._neg_view(tensor) if view.negative else tensor


def _root(array: Any) -> Any:
    """Return the array or tensor whose memory an array is a part of."""
    np, torch = sys.modules["numpy"], sys.modules.get("torch")
    kinds = (np.ndarray,) if torch is None else (np.ndarray, torch.Tensor)
    while isinstance(array, np.ndarray):
        base = array.base
        if not isinstance(base, kinds):
            base = getattr(base, "base", None)  # `as_strided` puts an object of its own in between.
        if not isinstance(base, kinds):
            break
        array = base
    return array


def _bytes(root: Any) -> Any | None:
    """Return the memory of a whole array as bytes, None when it has gaps."""
    if not (root.flags.c_contiguous or root.flags.f_contiguous):
        return None
    np = sys.modules["numpy"]
    return root.reshape(-1, order="A").view(np.uint8, np.ndarray)
