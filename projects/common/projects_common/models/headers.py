"""Read the headers of safetensors files: names, dtypes and shapes of a model's weights, without loading them."""

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlflow_plugin.errors import PhaseError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_FILE = "adapter_model.safetensors"

FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of one number, for the dtypes that count as full precision."""


@dataclass(frozen=True)
class TensorHeader:
    """Describe one tensor of a safetensors file.

    Attributes:
        name: The name of the weight in the model.
        dtype: The name that the format has for it: F32, BF16, U8, F8_E4M3, ...
        shape: Its dimensions.
        file: The file that holds it.
        offset: Bytes from the start of the file to the tensor.
        bytes: Its length.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    bytes: int

    @property
    def count(self) -> int:
        """Numbers in the tensor."""
        return math.prod(self.shape)


def read_headers(folder: Path) -> list[TensorHeader]:
    """Return the tensors of the weights that transformers would load from a folder, in order of name.

    Raises:
        PhaseError: there are none, or a file is missing, cut short or in another format.
    """
    headers = [header for file in weight_files(folder) for header in file_headers(file)]
    return sorted(headers, key=lambda header: header.name)


def weight_files(folder: Path) -> list[Path]:
    """Return `model.safetensors`, else the shards that the index names, else an adapter's weights."""
    for name in (SINGLE_FILE, INDEX_FILE, ADAPTER_FILE):
        if (folder / name).is_file():
            return _shards(folder) if name == INDEX_FILE else [folder / name]
    raise PhaseError(
        f"{folder} has no weights as safetensors: neither {SINGLE_FILE} nor {INDEX_FILE}. Only that format is read."
    )


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PhaseError(f"{index} is no index of shards ({type(error).__name__}: {error}). Fetch it anew.") from None
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise PhaseError(f"{index} names files that are not there: {', '.join(missing)}. Fetch the model anew.")
    return [folder / name for name in sorted(names)]


def file_headers(file: Path) -> list[TensorHeader]:
    """Return the tensors of one safetensors file, in order of name. Raises PhaseError as `read_headers` does."""
    from huggingface_hub import parse_local_safetensors_file_metadata
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        with open(file, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
        tensors = parse_local_safetensors_file_metadata(file).tensors
        data = 8 + length
        headers = [
            TensorHeader(name, str(t.dtype), tuple(t.shape), file, data + t.data_offsets[0], _length(t.data_offsets))
            for name, t in sorted(tensors.items())
        ]
    except (OSError, ValueError, KeyError, TypeError, struct.error, SafetensorsParsingError) as error:
        raise PhaseError(f"{file} is no safetensors file: {' '.join(str(error).split())[:200]}.") from None
    _require_whole(file, headers)
    return headers


def _length(offsets: tuple[int, int]) -> int:
    return offsets[1] - offsets[0]


def _require_whole(file: Path, headers: list[TensorHeader]) -> None:
    end = max((header.offset + header.bytes for header in headers), default=0)
    size = file.stat().st_size
    if size < end:
        raise PhaseError(f"{file} is cut short: its header promises {end:,} bytes, it has {size:,}. Fetch it anew.")


def parameter_count(headers: Iterable[TensorHeader]) -> int:
    """Count the numbers in all tensors; those that two layers of a model share are stored, and count, once."""
    return sum(header.count for header in headers)


def bytes_by_dtype(headers: Iterable[TensorHeader]) -> dict[str, int]:
    """Return the bytes of each dtype, largest first."""
    sizes: Counter[str] = Counter()
    for header in headers:
        sizes[header.dtype] += header.bytes
    return dict(sizes.most_common())


def is_full_precision(dtype: str) -> bool:
    """Tell if weights of this dtype can be trained and merged without quantisation.

    >>> is_full_precision("BF16"), is_full_precision("U8")
    (True, False)
    """
    return dtype in FLOAT_BYTES
