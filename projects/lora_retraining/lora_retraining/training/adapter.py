"""Put an adapter (LoRA: Hu et al. 2021, arXiv:2106.09685) around a base model, and write its files."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from projects_common.models.loading import ModelFiles, load_model
from safetensors import SafetensorError

from lora_retraining.base_model.loading import deprecations_hidden
from lora_retraining.settings import PROJECTIONS, Settings
from mlflow_plugin.errors import PhaseError

_logger = logging.getLogger(__name__)

BASE_FILE = "base.json"


def load_base(files: ModelFiles, dtype: torch.dtype, device: torch.device, *, spread: bool) -> Any:
    """Load the base model on the device; with `spread` and several GPUs, its layers one after another on all of them.

    Raises:
        PhaseError: It cannot be loaded, or memory runs out.
    """
    name = str(dtype).removeprefix("torch.")
    if not (spread and device.type == "cuda" and torch.cuda.device_count() > 1):
        return load_model(files, name, str(device))
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    model = load_model(files, name, "cpu")
    whole: Any = model._no_split_modules
    room = get_balanced_memory(model, no_split_module_classes=whole)
    return dispatch_model(model, infer_auto_device_map(model, room, no_split_module_classes=whole))


def add_adapter(model: Any, settings: Settings, base: str) -> PeftModel:
    """Freeze the weights and add trainable B (out x r) and A (r x in) at each projection W (out x in).

    The layer then computes W x + alpha / r * B A x (equation 3). B starts at zero, so nothing changes at first. A and B
    are float32.

    Args:
        model: The base model; changed in place.
        settings: With rank, alpha and dropout.
        base: The name of the base model in the adapter's files.

    Raises:
        PhaseError: The model has no linear layers.
    """
    there = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = [name for name in PROJECTIONS if name not in there]
    if missing:
        _logger.info(f"{base} has no {', '.join(missing)}; all its linear layers but the last get an adapter")
    configuration = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # peft says int and only divides.
        lora_dropout=settings.dropout,
        target_modules="all-linear" if missing else list(PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    try:
        with deprecations_hidden():
            adapted = get_peft_model(model, configuration)
    except ValueError as error:
        raise PhaseError(f"no adapter fits {base}: {' '.join(str(error).split())[:300]}") from None
    adapted.peft_config["default"].base_model_name_or_path = base
    assert isinstance(adapted, PeftModel)
    return adapted


def trained_parameters(model: Any) -> int:
    return sum(tensor.numel() for tensor in model.parameters() if tensor.requires_grad)


def save_adapter(model: PeftModel, tokenizer: Any, base: Mapping[str, Any], folder: Path) -> None:
    """Write adapter_model.safetensors, adapter_config.json, the tokenizer and base.json.

    The same weights give the same bytes.

    Raises:
        PhaseError: The disk is full or cannot be written, or weights are not finite.
    """
    if broken := [name for name, tensor in model.named_parameters() if tensor.requires_grad and not _finite(tensor)]:
        raise PhaseError(
            f"{len(broken)} trained weights are not finite, such as {broken[0]}; the adapter is not saved."
        )
    try:
        # Whether to save embeddings peft would ask the Hub; they are never trained here.
        model.save_pretrained(str(folder), save_embedding_layers=False)
        tokenizer.save_pretrained(str(folder))
        _sort_lists(folder / "adapter_config.json")
        (folder / BASE_FILE).write_text(json.dumps(base, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise PhaseError(
            f"the adapter could not be saved to {folder}: {error}. Make room or set TMPDIR to a bigger disk, then run "
            "the phase again: it resumes from its last checkpoint."
        ) from None


def _sort_lists(file: Path) -> None:
    """Sort lists of names: peft writes sets in an order that changes from process to process."""
    configuration = json.loads(file.read_text(encoding="utf-8"))
    for name, value in configuration.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            configuration[name] = sorted(value)
    file.write_text(json.dumps(configuration, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())
