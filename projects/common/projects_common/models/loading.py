"""Find models by name and load them with their tokenizers: safetensors only, and no code of a model's folder is run."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import is_out_of_memory
from mlflow_plugin.progress import report_periodically
from projects_common.models.devices import choose_device, choose_dtype
from projects_common.models.headers import parameter_count, read_headers
from projects_common.models.smollm2 import smollm2_folder

if TYPE_CHECKING:
    import torch

SMALL_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "tokenizer*")
"""Everything of a Hub model but its weights, code and pictures."""
BUILDERS: Mapping[str, Callable[[], Path]] = {"smollm2": smollm2_folder}
"""Names of models that are made on this machine, with the function that returns the folder."""


@dataclass(frozen=True)
class ModelFiles:
    """The files of a model.

    Attributes:
        source: The name that people know it by: a Hub id, or the folder.
        folder: Where the files are.
        revision: The Hub's commit, "" for a folder.
        config: The content of config.json.
    """

    source: str
    folder: Path
    revision: str
    config: dict[str, Any]


def find_model(name: str, *, weights: bool = True, builders: Mapping[str, Callable[[], Path]] = BUILDERS) -> ModelFiles:
    """Return the files of a model, fetched or made where they are not here yet.

    Args:
        name: A name of `builders`, a folder, or a model of the Hugging Face Hub.
        weights: False fetches only the small files of a Hub model, so that it can be judged before it is big.
        builders: Models that a project makes by itself.

    Raises:
        PhaseError: there is no such model, the Hub cannot be reached, or config.json is missing or damaged.
    """
    revision = ""
    if name in builders:
        folder = builders[name]()
    elif Path(name).is_dir():
        folder = Path(name).resolve()
    else:
        folder = _fetch(name, weights)
        revision = folder.name
    return ModelFiles(name, folder, revision, _read_config(folder))


def load_model(files: ModelFiles, dtype: "torch.dtype | str" = "auto", device: "torch.device | str" = "auto") -> Any:
    """Return a causal language model in evaluation mode.

    Args:
        files: Where the model is.
        dtype: As `choose_dtype` takes it, or `saved` for the dtype that the weights have in their files.
        device: As `choose_device` takes it.

    Raises:
        PhaseError: the model cannot be loaded, or memory runs out.
    """
    from transformers import AutoModelForCausalLM
    from transformers import logging as transformers_logging

    place = choose_device(device)
    kind = "auto" if dtype == "saved" else choose_dtype(dtype, place)  # "auto" means the saved one to transformers
    # Straight to an accelerator, without a whole copy in main memory.
    options = {} if place.type == "cpu" else {"device_map": {"": place}}
    transformers_logging.disable_progress_bar()
    try:
        with report_periodically(lambda: f"loading {files.source}"):
            model = AutoModelForCausalLM.from_pretrained(
                files.folder, dtype=kind, use_safetensors=True, local_files_only=True, **options
            )
    except Exception as error:
        if is_out_of_memory(error):
            raise PhaseError(_too_big(files, kind, str(place))) from None
        if not isinstance(error, (OSError, ValueError, ImportError, RuntimeError, KeyError, TypeError)):
            raise
        raise PhaseError(
            f"the model {files.source!r} in {files.folder} cannot be loaded: {' '.join(str(error).split())[:400]}"
        ) from None
    return model.eval()


def load_tokenizer(files: ModelFiles) -> Any:
    """Return the tokenizer of a model's folder, as it was saved.

    Raises:
        PhaseError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(files.folder, local_files_only=True)
    except Exception as error:  # The tokenizers package raises bare Exception for a damaged tokenizer.json.
        raise PhaseError(
            f"the tokenizer of {files.source!r} in {files.folder} cannot be loaded: "
            f"{' '.join(str(error).split())[:300]} Put the base model's tokenizer files into that folder."
        ) from None


def _fetch(name: str, weights: bool) -> Path:
    """Return the snapshot of a Hub model, a folder that has the commit as its name."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    patterns = [*SMALL_FILES, "*.safetensors"] if weights else list(SMALL_FILES)
    try:
        with report_periodically(lambda: f"fetching {name} from the Hugging Face Hub"):
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
        adapter = (folder / "adapter_config.json").is_file()
        hint = " It holds an adapter: give its base, or merge it first." if adapter else ""
        raise PhaseError(f"{folder} holds no model: it has no config.json.{hint}") from None
    except (OSError, ValueError) as error:
        raise PhaseError(f"{file} cannot be read as JSON: {error}. Fetch the model anew.") from None
    if not isinstance(config, dict):
        raise PhaseError(f"{file} holds no JSON object. Fetch the model anew.")
    return config


def _too_big(files: ModelFiles, dtype: "torch.dtype | str", place: str) -> str:
    headers = read_headers(files.folder)
    saved = sum(header.bytes for header in headers)
    needed = saved if isinstance(dtype, str) else parameter_count(headers) * dtype.itemsize
    return (
        f"out of memory while {files.source!r} was loaded on {place}: its weights alone need {needed / 2**30:.1f} GiB. "
        "End what else uses this memory, take dtype=bfloat16, a smaller model or a bigger device."
    )
