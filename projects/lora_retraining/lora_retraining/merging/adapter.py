"""Read a LoRA adapter as the low-rank change that it makes to each weight of its base. Refuse all other adapters."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from projects_common.models.headers import ADAPTER_FILE, TensorHeader
from projects_common.models.loading import ModelFiles
from torch import Tensor

from mlflow_plugin.errors import PhaseError

CONFIG_FILE = "adapter_config.json"
BASE_FILE = "base.json"
"""The base that the adapter was trained against: source, revision, weights_digest, dtype. Written by training."""
_PREFIX = "base_model.model."
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal", "eva")
"""Values of `init_lora_weights` that leave the base's own weights as they are; others (PiSSA, LoftQ) change them."""
_NOT_MERGED = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "velora_config",
    "monteclora_config",
)
"""Keys of the configuration that, when set, make the adapter more than W + scaling B A."""


@dataclass(frozen=True)
class LowRankChange:
    """A change of one weight W: W' = W + left @ right, both float32.

    Hu et al. 2021, arXiv:2106.09685, equation 3: left = (alpha / rank) B, right = A; transposed and swapped for layers
    that keep their weight as (in, out).

    Attributes:
        left: (rows of W, rank), already scaled.
        right: (rank, columns of W).
    """

    module: str
    left: Tensor
    right: Tensor

    @property
    def largest_singular_value(self) -> float:
        """Compute the largest singular value of the product, from the triangular factors of both sides."""
        inner = torch.linalg.qr(self.left, mode="r").R @ torch.linalg.qr(self.right.mT, mode="r").R.mT
        return float(torch.linalg.matrix_norm(inner, 2))


@dataclass(frozen=True)
class Adapter:
    """An adapter.

    Attributes:
        changes: Name of a weight of the base -> its change.
        base: The content of base.json, {} if there is none.
    """

    folder: Path
    config: Mapping[str, Any]
    base: Mapping[str, Any]
    changes: Mapping[str, LowRankChange]


def read_adapter(folder: Path, base: ModelFiles, headers: Sequence[TensorHeader]) -> Adapter:
    """Read the adapter in a folder, as changes of the weights that `headers` describes.

    peft itself decides on an empty model of the base's architecture which layers are changed and how each is scaled
    (rank and alpha patterns, rank-stabilised scaling).

    Raises:
        PhaseError: The adapter is damaged, was made for another architecture, has NaN or Inf in it, or is more than
            a low-rank change of linear layers.
    """
    config = read_config(folder)
    tensors = _read_tensors(folder)
    layers = _layers_meant(folder, base)
    named = {f"{_PREFIX}{module}.lora_{side}.weight" for module in layers for side in "AB"}
    _require_none(folder, base, named - tensors.keys(), "lacks")
    shapes = {header.name: header.shape for header in headers}
    changes = {}
    for module, layer in layers.items():
        a, b = (tensors[f"{_PREFIX}{module}.lora_{side}.weight"] for side in "AB")
        change = _change(module, layer, a, b)
        _require_shape(folder, base, change, shapes.get(f"{module}.weight"))
        changes[f"{module}.weight"] = change
    _require_none(folder, base, tensors.keys() - named, "has, with no such layer in the base,")
    return Adapter(folder, config, _read_json(folder / BASE_FILE) if (folder / BASE_FILE).is_file() else {}, changes)


def read_config(folder: Path) -> dict[str, Any]:
    """Read adapter_config.json. Raise PhaseError if it is missing, damaged, or describes an adapter that cannot be
    merged.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise PhaseError(f"{folder} holds no adapter: it has no {CONFIG_FILE}. Give the folder that training wrote.")
    config = _read_json(folder / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise PhaseError(
            f"{folder / CONFIG_FILE} describes a {config.get('peft_type')!r} adapter. Only LORA can be merged."
        )
    more = [key for key in _NOT_MERGED if config.get(key)]
    if config.get("bias", "none") != "none":
        more.append("bias")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        more.append("init_lora_weights")
    if more:
        settings = ", ".join(f"{key} = {config[key]!r}" for key in more)
        raise PhaseError(
            f"{folder / CONFIG_FILE}: {settings}. Such an adapter is more than W + scaling B A, or needs other base "
            "weights; that is not merged here. Train without it, or merge with peft's merge_and_unload."
        )
    return config


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PhaseError(f"{file} cannot be read as JSON: {error}. Train the adapter anew.") from None
    if not isinstance(content, dict):
        raise PhaseError(f"{file} holds no JSON object. Train the adapter anew.")
    return content


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / ADAPTER_FILE
    if not file.is_file():
        raise PhaseError(f"{folder} has no {ADAPTER_FILE}. Weights in other formats are not read: save it anew.")
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
    except (OSError, SafetensorError) as error:
        raise PhaseError(f"{file} is no sound safetensors file: {error}. Train the adapter anew.") from None
    broken = sorted(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
    if broken:
        raise PhaseError(
            f"{file}: NaN or Inf in {len(broken)} of {len(tensors)} tensors, first {broken[0]}. Training broke down; "
            "Resume from an earlier checkpoint with a lower learning rate."
        )
    return tensors


def _layers_meant(folder: Path, base: ModelFiles) -> dict[str, Any]:
    """Map module names to peft's LoRA layers, on a model of the base's architecture with shapes but no weights."""
    from peft import LoraConfig, inject_adapter_in_model
    from peft.tuners.lora import Linear, LoraLayer
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        lora = LoraConfig.from_pretrained(str(folder))
        lora.init_lora_weights = False
        config = AutoConfig.from_pretrained(base.folder, local_files_only=True)
        config.quantization_config = None
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
            inject_adapter_in_model(lora, model, low_cpu_mem_usage=True)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as error:
        raise PhaseError(
            f"the adapter in {folder} does not fit the architecture of {base.source}: "
            f"{' '.join(str(error).split())[:300]} Name the base that it was trained against."
        ) from None
    layers = {name: module for name, module in model.named_modules() if isinstance(module, LoraLayer)}
    odd = sorted(name for name, layer in layers.items() if type(layer) is not Linear)
    if odd:
        raise PhaseError(
            f"the adapter in {folder} changes {odd[0]}, which is no linear layer; only those are merged here. "
            "Leave it out of target_modules and train anew."
        )
    return layers


def _require_none(folder: Path, base: ModelFiles, names: set[str], what: str) -> None:
    if names:
        raise PhaseError(
            f"{folder / ADAPTER_FILE} {what} {len(names)} tensors, first {min(names)}: it was made for another "
            f"architecture than that of {base.source}. Name the base that it was trained against."
        )


def _change(module: str, layer: Any, a: Tensor, b: Tensor) -> LowRankChange:
    scaling = layer.scaling["default"]
    if layer.fan_in_fan_out:
        return LowRankChange(module, (a.mT * scaling).contiguous(), b.mT.contiguous())
    return LowRankChange(module, b * scaling, a)


def _require_shape(folder: Path, base: ModelFiles, change: LowRankChange, shape: tuple[int, ...] | None) -> None:
    if shape is None:
        raise PhaseError(
            f"the adapter in {folder} changes {change.module}, but {base.folder} holds no {change.module}.weight. "
            "It may share its weight with the embeddings: leave it out of target_modules and train anew."
        )
    made = (change.left.shape[0], change.right.shape[1])
    if made != shape or change.left.shape[1] != change.right.shape[0]:
        raise PhaseError(
            f"the adapter in {folder} was made for another base: its change of {change.module} is {made}, the weight "
            f"in {base.folder} is {shape}. Name the base that it was trained against."
        )
