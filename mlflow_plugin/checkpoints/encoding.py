"""Nested values as JSON plus tensors and arrays, and back, exactly. No pickle: what is decoded can run no code.

JSON's own types stand for themselves; everything else is an object with one key that begins with `$`, such as
`{"$tuple": [1, 2]}` or `{"$tensor": "model.weight"}`. A dictionary with other keys than plain text becomes pairs.
"""

import base64
import math
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlflow_plugin.errors import PhaseError

if TYPE_CHECKING:
    import numpy as np
    import torch

_PLAIN_TYPES = (type(None), bool, int, float, str, bytes)
_CONTAINERS = (list, tuple, dict, OrderedDict)
_LARGEST_JSON_INT = 2**63
_DEEPEST = 200
# The dtypes that safetensors can hold; complex ones are stored as pairs.
_TENSOR_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|bfloat16|float(16|32|64)|complex(32|64|128)|float8_(e4m3fn|e4m3fnuz|e5m2|e5m2fnuz|e8m0fnu)"
)


def can_encode(value: object) -> bool:
    """Whether a value is of a supported type; what a container holds is not looked at."""
    return type(value) in (*_PLAIN_TYPES, *_CONTAINERS) or _is_torch_value(value) or _is_numpy_value(value)


class Encoder:
    """Encodes values; `tensors` and `arrays` (of bytes) are then to be stored beside the JSON, by the same names.

    The tensors are views of the live ones, on any device and with any strides: copy them before they change.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.arrays: dict[str, np.ndarray[Any, np.dtype[np.uint8]]] = {}
        self._names: dict[object, str] = {}

    def encode(self, value: object, path: tuple[str, ...] = ()) -> object:
        """A value as JSON. Raises PhaseError naming the key path and type of whatever is not supported."""
        if len(path) > _DEEPEST:
            raise PhaseError(f"The state {_shown(path[:5])}... is nested deeper than {_DEEPEST}, or contains itself.")
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
        # `Module.state_dict()` hangs its version numbers on the dictionary.
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
        """Name under which a tensor is stored: its key path, or the name of the same tensor stored before."""
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
        return {"$array": self._names[identity], "dtype": value.dtype.str, "shape": list(value.shape)}


class Decoder:
    """Decodes what `Encoder` made. Raises KeyError, TypeError, ValueError and the like for what it did not make."""

    def __init__(self, tensors: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._arrays = arrays
        self._made: dict[tuple[str, str], object] = {}

    def decode(self, encoded: object) -> Any:
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
                raise ValueError(f"no dtype: {content}")
            return dtype
        if (tag, content) not in self._made:
            stored = self._tensors[content]
            self._made[tag, content] = torch.view_as_complex(stored) if encoded.get("complex") else stored
        return self._made[tag, content]

    def _numpy_value(self, tag: str, content: str, encoded: dict[str, Any]) -> object:
        import numpy as np

        dtype = np.dtype(encoded["dtype"])
        if dtype.hasobject:
            raise ValueError("an array of Python objects")
        if tag == "$scalar":
            return np.ndarray((), dtype, bytes.fromhex(content))[()]
        if (tag, content) not in self._made:
            raw, shape = self._arrays[content].tobytes(), encoded["shape"]
            if math.prod(shape) * dtype.itemsize != len(raw) or any(size < 0 for size in shape):
                raise ValueError(f"{len(raw)} bytes for an array of shape {shape}")
            self._made[tag, content] = np.ndarray(shape, dtype, raw).copy()
        return self._made[tag, content]


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
    raise ValueError(f"unknown form {tag}")


def _is_torch_value(value: object) -> bool:
    torch = sys.modules.get("torch")
    kinds = ("Tensor", "Size", "dtype", "device")
    return torch is not None and (
        type(value) in [getattr(torch, kind) for kind in kinds] or type(value) is torch.nn.Parameter
    )


def _is_numpy_value(value: object) -> bool:
    np = sys.modules.get("numpy")
    return np is not None and (type(value) in (np.ndarray, np.memmap) or isinstance(value, np.generic))


def _unsupported(value: object, path: tuple[str, ...], what: str = "") -> PhaseError:
    kind = what or f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return PhaseError(
        f"The state at {_shown(path)} cannot be saved: it is of type {kind}. Keep plain values, lists, tuples, "
        "dictionaries, tensors and arrays in a state, or objects with state_dict() and load_state_dict()."
    )


def _shown(path: tuple[str, ...]) -> str:
    return ".".join(path) or "its top"


def _unused_name(path: tuple[str, ...], taken: Mapping[str, object]) -> str:
    # Keys may hold lone surrogates, which no reader of safetensors takes.
    plain = ".".join(path).encode(errors="replace").decode() or "value"
    name, number = plain, 2
    while name in taken or name == "__metadata__":
        name, number = f"{plain}~{number}", number + 1
    return name
