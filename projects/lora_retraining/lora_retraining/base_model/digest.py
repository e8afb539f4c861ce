"""Digest the weights of a model, whatever files they are spread over."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from projects_common.models.headers import TensorHeader, file_headers, weight_files

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.project.digests import remembered, value_digest

TENSOR_DIGESTS = "safetensors-tensors-1"
"""Names this algorithm in the memory of digests: raise the number whenever it changes."""
_READ_BYTES = 2**24


def weights_digest(folder: Path) -> str:
    """Return the sha256 over name, dtype, shape and bytes of every tensor of a folder, in order of name.

    How the tensors are spread over files does not matter. Unchanged files are not read again.

    Returns:
        64 hex digits.

    Raises:
        PhaseError: The weights are missing or damaged.
    """
    files = weight_files(folder)
    digests: dict[str, str] = {}
    with (
        report_periodically(lambda: f"digesting the weights in {folder}: {len(digests)} tensors so far"),
        ThreadPoolExecutor(min(4, len(files))) as pool,
    ):
        for text in pool.map(_file_digests, files):
            digests |= json.loads(text)
    return value_digest(digests)


def _file_digests(file: Path) -> str:
    return remembered(file, TENSOR_DIGESTS, _tensor_digests)


def _tensor_digests(file: Path) -> str:
    """Return JSON: tensor name -> sha256 of its dtype, shape and bytes."""
    headers = sorted(file_headers(file), key=lambda header: header.offset)
    with open(file, "rb") as stream:
        return json.dumps({header.name: _tensor_digest(header, stream) for header in headers})


def _tensor_digest(header: TensorHeader, stream: BinaryIO) -> str:
    digest = hashlib.sha256(f"{header.dtype} {list(header.shape)} ".encode())
    stream.seek(header.offset)
    left = header.bytes
    while left:
        part = stream.read(min(left, _READ_BYTES))
        if not part:
            raise PhaseError(f"{header.file} ends within {header.name}. Fetch it anew.")
        digest.update(part)
        left -= len(part)
    return digest.hexdigest()
