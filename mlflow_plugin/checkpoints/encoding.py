"""Encode nested values as JSON plus named tensors and arrays, and decode them exactly.

Own code because `torch.save` and `pickle` can execute code when they load a file, and safetensors stores tensors only.

JSON's own types stand for themselves. Every other type is an object with one key that begins with `$`, such as
`{"$tuple": [1, 2]}` or `{"$tensor": "model.weight"}`. A dictionary whose keys are not plain text becomes a list of
pairs.
"""

import base64
import math
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlflow_plugin.checkpoints.sharing import View, fill, memory_for, overlapping, placed, view_from_json, view_of
from mlflow_plugin.errors import PhaseError

if TYPE_CHECKING:
    import numpy as np
    import torch

_PLAIN_TYPES = (type(None), bool, int, float, str, bytes)
_CONTAINERS = (list, tuple, dict, OrderedDict)
_LARGEST_JSON_INT = 2**63
_MAX_DEPTH = 200
# The dtypes that safetensors can hold; complex ones are stored as pairs.
_TENSOR_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|bfloat16|float(16|32|64)|complex(32|64|128)|float8_(e4m3fn|e4m3fnuz|e5m2|e5m2fnuz|e8m0fnu)"
)


def can_encode(value: object) -> bool:
    """Return whether a value is of a supported type. The elements of a container are not checked."""
    return type(value) in (*_PLAIN_TYPES, *_CONTAINERS) or _is_torch_value(value) or _is_numpy_value(value)


class Encoder:
    """Encode values as JSON and collect their tensors and arrays.

    Attributes:
        tensors: Name -> tensor, to be stored beside the JSON under the same name. Complex tensors are given as pairs
            of real numbers (last dimension 2). These are views of the live tensors, on any device and with any
            strides: copy them before training changes them.
        arrays: Name -> bytes of a NumPy array, uint8, one-dimensional.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.arrays: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {}
        self._names: dict[object, str] = {}
        self._views: list[tuple[tuple[str, str], View]] = []

    def shared_memory(self) -> list[list[dict[str, Any]]]:
        """Return as JSON which of the encoded tensors and arrays overlap in memory, and where, by group."""
        groups = [group for group in overlapping(self._views) if len(group) > 1]
        return [
            [
                {"kind": kind, "name": name} | view.shifted(-min(other.low for _, other in group)).as_json()
                for (kind, name), view in group
            ]
            for group in groups
        ]

    def encode(self, value: object, path: tuple[str, ...] = ()) -> object:
        """Return a value as JSON.

        Args:
            value: Any nesting of the supported types.
            path: Keys and indices that lead to the value; they name its tensors.

        Raises:
            PhaseError: A value has an unsupported type. The message names its key path and type.
        """
        if len(path) > _MAX_DEPTH:
            raise PhaseError(
                f"The state at {_dotted(path[:5])}... is nested deeper than {_MAX_DEPTH} levels, or contains itself. "
                "Flatten it, or remove the reference to itself."
            )
        if type(value) in _PLAIN_TYPES:
            return _encode_plain(value)
        if isinstance(value, list | tuple | dict) and type(value) in _CONTAINERS:
            return self._encode_container(value, path)
        if _is_torch_value(value):
            return self._encode_torch(value, path)
        if _is_numpy_value(value):
            return self._encode_numpy(value, path)
        raise _unsupported(value, path)

    def _encode_container(self, value: list[Any] | tuple[Any, ...] | dict[Any, Any], path: tuple[str, ...]) -> object:
        if not isinstance(value, dict):
            items = [self.encode(item, (*path, str(index))) for index, item in enumerate(value)]
            return items if type(value) is list else {"$tuple": items}
        if type(value) is dict and all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.encode(item, (*path, key)) for key, item in value.items()}
        pairs = [[self.encode(k, (*path, f"key {k!r}")), self.encode(v, (*path, str(k)))] for k, v in value.items()]
        if type(value) is dict:
            return {"$dict": pairs}
        # `Module.state_dict()` keeps its version numbers in an attribute of the dictionary.
        return {"$ordered": pairs, "metadata": self.encode(getattr(value, "_metadata", None), (*path, "_metadata"))}

    def _encode_torch(self, value: Any, path: tuple[str, ...]) -> object:
        import torch

        if isinstance(value, torch.Size):
            return {"$size": list(value)}
        if isinstance(value, torch.dtype):
            return {"$dtype": str(value).removeprefix("torch.")}
        if isinstance(value, torch.device):
            return {"$device": str(value)}
        dtype = str(value.dtype).removeprefix("torch.")
        if value.layout is not torch.strided or value.is_meta or not _TENSOR_DTYPE.fullmatch(dtype):
            raise _unsupported(value, path, f"{value.layout} tensor of {value.dtype} on {value.device}")
        described: dict[str, object] = {"$tensor": self._tensor_name(value.detach(), path)}
        return described | {"complex": True} if value.is_complex() else described

    def _tensor_name(self, tensor: "torch.Tensor", path: tuple[str, ...]) -> str:
        """Return the name to store a tensor under: its key path, or the name of the same tensor stored before."""
        import torch

        storage = tensor.untyped_storage().data_ptr()
        layout = (
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
            tensor.is_conj(),
            tensor.is_neg(),
        )
        identity = (storage, tensor.device, *layout) if tensor.numel() else object()
        if identity not in self._names:
            plain = tensor.resolve_conj().resolve_neg()
            self._names[identity] = _unused_name(path, self.tensors)
            self.tensors[self._names[identity]] = torch.view_as_real(plain) if plain.is_complex() else plain
            self._note_memory("tensor", self._names[identity], tensor)
        return self._names[identity]

    def _encode_numpy(self, value: Any, path: tuple[str, ...]) -> object:
        import numpy as np

        if value.dtype.hasobject or value.dtype.kind == "V":
            raise _unsupported(value, path, f"NumPy {type(value).__name__} of {value.dtype}")
        if isinstance(value, np.generic):
            return {"$scalar": value.tobytes().hex(), "dtype": value.dtype.str}
        identity = ("numpy", id(value))
        if identity not in self._names:
            self._names[identity] = _unused_name(path, self.arrays)
            self.arrays[self._names[identity]] = np.frombuffer(value.tobytes(), dtype=np.uint8)
            self._note_memory("array", self._names[identity], value)
        return {"$array": self._names[identity], "dtype": value.dtype.str, "shape": list(value.shape)}

    def _note_memory(self, kind: str, name: str, value: object) -> None:
        if (view := view_of(value)) is not None:
            self._views.append(((kind, name), view))


class Decoder:
    """Decode the JSON, tensors and arrays that `Encoder` made.

    Args:
        tensors: Name -> torch tensor.
        arrays: Name -> NumPy array of uint8.
        shared_memory: The result of `Encoder.shared_memory`. What overlapped then overlaps again.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: `shared_memory` is of another origin.
    """

    def __init__(
        self,
        tensors: Mapping[str, Any],
        arrays: Mapping[str, Any],
        shared_memory: Sequence[Sequence[Mapping[str, Any]]] = (),
    ) -> None:
        self._tensors = tensors
        self._arrays = arrays
        self._decoded: dict[tuple[str, str], object] = {}
        for group in shared_memory:
            self._place(group)

    def decode(self, encoded: object) -> Any:
        """Return the value that was encoded. Input of another origin raises KeyError, TypeError or ValueError."""
        if isinstance(encoded, list):
            return [self.decode(item) for item in encoded]
        if not isinstance(encoded, dict):
            return encoded
        tag = next(iter(encoded), "")
        if not tag.startswith("$"):
            return {key: self.decode(item) for key, item in encoded.items()}
        content = encoded[tag]
        match tag:
            case "$tuple":
                return tuple(self.decode(item) for item in content)
            case "$dict":
                return {self.decode(key): self.decode(item) for key, item in content}
            case "$ordered":
                return self._ordered(content, encoded["metadata"])
            case "$tensor" | "$size" | "$dtype" | "$device":
                return self._torch_value(tag, content, encoded)
            case "$array" | "$scalar":
                return self._numpy_value(tag, content, encoded)
            case _:
                return _decode_plain(tag, content)

    def _place(self, group: Sequence[Mapping[str, Any]]) -> None:
        """Put the tensors and arrays of a group into one memory, where they overlap as they did."""
        views = [view_from_json(member) for member in group]
        memory, distance = memory_for(views)
        for member, view in zip(group, views, strict=True):
            place, name = placed(memory, view.shifted(distance)), member["name"]
            if member["kind"] == "tensor":
                fill(place, self._stored_tensor(name, complex_numbers=place.is_complex()))
            else:
                fill(place, self._stored_array(name, view.dtype, view.shape))
            self._decoded[f"${member['kind']}", name] = place

    def _ordered(self, pairs: list[Any], metadata: object) -> "OrderedDict[Any, Any]":
        ordered = OrderedDict((self.decode(key), self.decode(item)) for key, item in pairs)
        if metadata is not None:
            ordered._metadata = self.decode(metadata)  # type: ignore[attr-defined]
        return ordered

    def _torch_value(self, tag: str, content: Any, encoded: dict[str, Any]) -> object:
        import torch

        if tag == "$size":
            return torch.Size(content)
        if tag == "$device":
            return torch.device(content)
        if tag == "$dtype":
            dtype = getattr(torch, content)
            if not isinstance(dtype, torch.dtype):
                raise ValueError(f"torch.{content} is not a dtype")
            return dtype
        if (tag, content) not in self._decoded:
            self._decoded[tag, content] = self._stored_tensor(content, complex_numbers=bool(encoded.get("complex")))
        return self._decoded[tag, content]

    def _stored_tensor(self, name: str, *, complex_numbers: bool) -> Any:
        import torch

        stored = self._tensors[name]
        return torch.view_as_complex(stored) if complex_numbers else stored

    def _numpy_value(self, tag: str, content: str, encoded: dict[str, Any]) -> object:
        import numpy as np

        dtype = np.dtype(encoded["dtype"])
        if dtype.hasobject:
            raise ValueError("an array of Python objects is not supported")
        if tag == "$scalar":
            return np.ndarray((), dtype, bytes.fromhex(content))[()]
        if (tag, content) not in self._decoded:
            self._decoded[tag, content] = self._stored_array(content, dtype, encoded["shape"])
        return self._decoded[tag, content]

    def _stored_array(self, name: str, dtype: Any, shape: Sequence[int]) -> Any:
        import numpy as np

        raw, dtype = self._arrays[name].tobytes(), np.dtype(dtype)
        if math.prod(shape) * dtype.itemsize != len(raw) or any(size < 0 for size in shape):
            raise ValueError(f"an array of shape {shape} and dtype {dtype} cannot have {len(raw)} bytes")
        return np.ndarray(shape, dtype, raw).copy()


def _encode_plain(value: Any) -> object:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": struct.pack(">d", value).hex()}
    if type(value) is int and abs(value) >= _LARGEST_JSON_INT:
        return {"$int": hex(value)}
    return value


def _decode_plain(tag: str, content: str) -> object:
    if tag == "$bytes":
        return base64.b64decode(content, validate=True)
    if tag == "$float":
        return struct.unpack(">d", bytes.fromhex(content))[0]
    if tag == "$int":
        return int(content, 16)
    raise ValueError(f"unknown type tag {tag}")


def _is_torch_value(value: object) -> bool:
    torch = sys.modules.get("torch")
    kinds = ("Tensor", "Size", "dtype", "device")
    return torch is not None and (
        type(value) in [getattr(torch, kind) for kind in kinds] or type(value) is torch.nn.Parameter
    )


def _is_numpy_value(value: object) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and (type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic))


def _unsupported(value: object, path: tuple[str, ...], type_name: str = "") -> PhaseError:
    type_name = type_name or f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return PhaseError(
        f"The state at {_dotted(path)} cannot be saved: it is of type {type_name}. Keep plain values, lists, tuples, "
        "dictionaries, tensors and arrays in a state, or objects with state_dict() and load_state_dict()."
    )


def _dotted(path: tuple[str, ...]) -> str:
    return ".".join(path) or "its top"


def _unused_name(path: tuple[str, ...], used: Mapping[str, object]) -> str:
    # Keys may hold lone surrogates, which safetensors cannot read.
    base = ".".join(path).encode(errors="replace").decode() or "value"
    name, number = base, 2
    while name in used or name == "__metadata__":
        name, number = f"{base}~{number}", number + 1
    return name
