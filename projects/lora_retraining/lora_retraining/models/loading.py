"""Finds base models, loads them with their tokenizers, and tells by digest whether two are the same."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.guardrails.memory import is_out_of_memory
from mlflow_plugin.progress import said_now_and_then
from mlflow_plugin.project.digests import remembered, value_digest
from lora_retraining.models.headers import TensorHeader, file_headers, parameter_count, read_headers, weight_files

if TYPE_CHECKING:
    import torch

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")
"""Everything of a Hub model but its weights, code and pictures."""
TENSOR_DIGESTS = "safetensors-tensors-1"
"""Names this way to digest weights in the memory of digests: raise the number whenever it changes."""
_READ_BYTES = 2**24
_MULTIPLIES_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")
"""What torch calls the instructions of x86 and ARM for it."""


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies. `source`: what names it for people (Hub id, or the folder); `revision`: the Hub's commit, ""
    for a folder; `config`: what its config.json says.
    """

    source: str
    folder: Path
    revision: str
    config: dict[str, Any]


def find_model(name: str, *, weights: bool = True) -> ModelFiles:
    """The files of `tiny`, `smollm2`, a folder or a model of the Hugging Face Hub, fetched where they are not here yet.

    Without `weights` only the small files of a Hub model are fetched, so that it can be judged before it is big.
    Raises PhaseError when there is no such model, the Hub cannot be reached, or config.json is missing or damaged.
    """
    revision = ""
    if name == "tiny":
        from lora_retraining.models.tiny import tiny_folder

        folder = tiny_folder()
    elif name == "smollm2":
        from projects_common.models.smollm2 import smollm2_folder

        folder = smollm2_folder()
    elif Path(name).is_dir():
        folder = Path(name).resolve()
    else:
        folder = _fetch(name, weights)
        revision = folder.name
    return ModelFiles(name, folder, revision, _read_config(folder))


def _fetch(name: str, weights: bool) -> Path:
    """The snapshot of a Hub model, whose folder is called by its commit."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*SMALL_FILES, "*.safetensors"] if weights else list(SMALL_FILES)
    try:
        with said_now_and_then(lambda: f"fetching {name} from the Hugging Face Hub"):
            # `original/` and the like hold the same weights once more, in formats that are not read.
            return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except HFValidationError:
        raise PhaseError(f"there is no model {name!r}: neither a folder here nor the form of a Hub id.") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise PhaseError(
            f"the model {name!r} is no folder here and cannot be had from the Hugging Face Hub: "
            f"{' '.join(str(error).split())[:300]} Check the name, the network and, for a gated model, that HF_TOKEN "
            "is set and its licence accepted; or give a folder."
        ) from None


def _read_config(folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = " It holds an adapter: give its base, or merge it first." if _has_adapter(folder) else ""
        raise PhaseError(f"{folder} holds no model: it has no config.json.{hint}") from None
    except (OSError, ValueError) as error:
        raise PhaseError(f"{file} cannot be read as JSON: {error}. Fetch the model anew.") from None
    if not isinstance(config, dict):
        raise PhaseError(f"{file} holds no JSON object. Fetch the model anew.")
    return config


def _has_adapter(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def choose_device(name: "torch.device | str") -> "torch.device":
    """`auto` is the first accelerator, else the CPU. Raises UsageError for a device that is not there."""
    import torch

    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).partition("\n")[0]
        raise UsageError(f"device {name!r} cannot be used: {first_line} Pass device=auto or device=cpu.") from None


def choose_dtype(name: "torch.dtype | str", device: "torch.device") -> "torch.dtype":
    """`auto` is bfloat16 where the device multiplies it, and float32 where that is slow: on CPUs and old GPUs.

    Raises UsageError for anything but auto, bfloat16 and float32.
    """
    import torch

    known = {"bfloat16": torch.bfloat16, "float32": torch.float32}
    if isinstance(name, torch.dtype):
        return name
    if name in known:
        return known[name]
    if name != "auto":
        raise UsageError(f"dtype {name!r} is not one of auto, {', '.join(known)}.")
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float32
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 faster than of float32.

    With AVX512-BF16 a step on SmolLM2 took half as long (3.6 s of CPU time instead of 7.2 s, batches of 8 x 100
    tokens); CPUs without such instructions emulate them and are slower than in float32.
    """
    import torch

    capabilities: dict[str, Any] = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _MULTIPLIES_BFLOAT16)


def load_model(files: ModelFiles, dtype: "torch.dtype | str" = "auto", device: "torch.device | str" = "auto") -> Any:
    """The causal language model of a folder, in evaluation mode, with its weights in `dtype` on `device`; see
    `choose_dtype` and `choose_device`.

    Safetensors only; no code of the model's folder is run. Raises PhaseError when it cannot be loaded, and when memory
    runs out.
    """
    from transformers import AutoModelForCausalLM
    from transformers import logging as transformers_logging

    place = choose_device(device)
    kind = choose_dtype(dtype, place)
    # Straight to an accelerator, without a whole copy in main memory.
    options = {} if place.type == "cpu" else {"device_map": {"": place}}
    transformers_logging.disable_progress_bar()
    try:
        with said_now_and_then(lambda: f"loading {files.source}"):
            model = AutoModelForCausalLM.from_pretrained(
                files.folder, dtype=kind, use_safetensors=True, local_files_only=True, **options
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise PhaseError(_too_big(files, kind.itemsize, str(place))) from None
        if not isinstance(error, (OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError)):
            raise
        raise PhaseError(
            f"the model {files.source!r} in {files.folder} cannot be loaded: {' '.join(str(error).split())[:400]}"
        ) from None
    return model.eval()


@contextmanager
def deprecations_hidden() -> Iterator[None]:
    """Keeps warnings to itself that users can do nothing about: transformers renames gradient checkpointing, and peft,
    and transformers before that, know the old name only.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*gradient_checkpointing.* is deprecated", FutureWarning)
        yield


def _too_big(files: ModelFiles, itemsize: int, place: str) -> str:
    needed = parameter_count(read_headers(files.folder)) * itemsize
    return (
        f"out of memory while {files.source!r} was loaded on {place}: its weights alone need {needed / 2**30:.1f} GiB. "
        "End what else uses this memory, take dtype=bfloat16, a smaller model or a bigger device."
    )


def load_tokenizer(files: ModelFiles) -> Any:
    """The tokenizer of a model's folder, as it was saved. Raises PhaseError when it cannot be loaded."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # The tokenizers package raises bare Exception for a damaged tokenizer.json.
        raise PhaseError(
            f"the tokenizer of {files.source!r} in {files.folder} cannot be loaded: "
            f"{' '.join(str(error).split())[:300]} Put the base model's tokenizer files into that folder."
        ) from None


def weights_digest(folder: Path) -> str:
    """sha256 over name, dtype, shape and bytes of every tensor of a folder, in order of name: 64 hex digits.

    How the tensors are spread over files does not matter. Unchanged files are not read again. Raises PhaseError when
    the weights are missing or damaged.
    """
    files = weight_files(folder)
    digests: dict[str, str] = {}
    with (
        said_now_and_then(lambda: f"digesting the weights in {folder}: {len(digests)} tensors so far"),
        ThreadPoolExecutor(min(4, len(files))) as pool,
    ):
        for text in pool.map(_file_digests, files):
            digests |= json.loads(text)
    return value_digest(digests)


def _file_digests(file: Path) -> str:
    return remembered(file, TENSOR_DIGESTS, _tensor_digests)


def _tensor_digests(file: Path) -> str:
    """JSON: tensor name -> sha256 of its dtype, shape and bytes."""
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
