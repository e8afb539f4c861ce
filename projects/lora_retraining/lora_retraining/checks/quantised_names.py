"""Recognise quantised weights by names: of models, files, tensors, settings and packages."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# A word of its own, so that Q4 in "Q4_K_M" counts and in "faq4all" does not.
_MODEL_WORD = re.compile(
    r"(?<![a-z0-9])("
    r"unsloth|bnb|bitsandbytes|gptq|gptqmodel|awq|aqlm|hqq|eetq|exl[23]|quip|autoround|torchao|quanto|bitnet|gguf"
    r"|[2-8][-_ ]?bits?|int[2348]|n?f4|nf4|(?:mx|nv)?fp[48]|w[48]a(?:8|16)|i?q[2-8](?:_[a-z0-9]+)*"
    r"|quanti[sz]ed|qlora)(?![a-z0-9])",
    re.IGNORECASE,
)

_MODEL_ID = re.compile(r"[\w.-]+(/[\w.-]+)*")
_MODEL_SIZE = re.compile(r"\d[bBmM](?![a-zA-Z])")

CONFIG_KEYS = ("quantization_config", "quantization", "compression_config", "load_in_4bit", "load_in_8bit")
"""Keys of a config.json that hold how its weights are quantised."""

CONFIG_FILES = ("quantize_config.json", "quant_config.json", "quantization_config.json", "hf_quant_config.json")
"""Files in which GPTQ, AWQ, HQQ and ModelOpt keep the same."""

TENSOR_SUFFIXES = (
    *("qweight", "qzeros", "g_idx", "scales"),  # GPTQ, AWQ
    *("absmax", "quant_map", "nested_absmax", "nested_quant_map", "SCB", "weight_format"),  # bitsandbytes
    *("weight_scale", "weight_scale_inv", "weight_zero_point", "weight_packed", "input_scale"),  # fp8, int8
    *("weight_shape", "weight_global_scale", "weight_g_idx"),  # compressed-tensors
    *("_data", "_scale", "_shift", "W_q", "codebooks", "codes"),  # quanto, HQQ, AQLM
)
"""Last parts of tensor names, or of words in them, under which such formats keep the data of a weight."""


def quantised_word(name: str) -> str | None:
    """Return the word of a model's name or path that says it is quantised, or was made by tools for quantised bases.

    >>> quantised_word("unsloth/meta-llama-3.1-8b-instruct-bnb-4bit"), quantised_word("Qwen/Qwen2.5-7B-Instruct")
    ('unsloth', None)
    """
    match = _MODEL_WORD.search(name)
    return match[1] if match else None


def quantised_model(text: str) -> bool:
    """Tell if a text is the name of a quantised model, as the Hub has them: with an owner or the model's size in it.

    >>> quantised_model("unsloth/Llama-3.1-8B"), quantised_model("TheBloke/x-AWQ"), quantised_model("gptq")
    (True, True, False)
    """
    if not _MODEL_ID.fullmatch(text) or not quantised_word(text):
        return False
    owner, slash, name = text.partition("/")
    return bool(slash and name and owner) or bool(_MODEL_SIZE.search(text))


def quantised_tensor(name: str) -> bool:
    """Tell if a tensor is an extra one that only quantised weights have.

    >>> quantised_tensor("model.layers.0.mlp.up_proj.weight.absmax"), quantised_tensor("model.norm.weight")
    (True, False)
    """
    return ".quant_state." in name or name.rpartition(".")[2] in TENSOR_SUFFIXES


def quantised_settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the settings of a config.json or an adapter_config.json that speak of quantised weights."""
    for key, value in config.items():
        path = f"{prefix}{key}"
        if key in CONFIG_KEYS and value not in (None, False, {}):
            method = value.get("quant_method") if isinstance(value, Mapping) else None
            yield f"{path}: {method or str(value)[:60]}"
        elif "unsloth" in key.lower():
            yield path
        elif key == "quant_method" and value:
            yield f"{path}: {value}"
        elif isinstance(value, Mapping):
            yield from quantised_settings(value, f"{path}.")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, Mapping):
                    yield from quantised_settings(item, f"{path}.{number}.")
        elif (isinstance(value, str) and key.endswith("name_or_path") and quantised_word(value)) or (
            key in ("torch_dtype", "dtype") and isinstance(value, str) and not _is_float(value)
        ):
            yield f"{path}: {value}"


def _is_float(dtype: str) -> bool:
    return dtype.removeprefix("torch.") in ("float32", "float16", "bfloat16", "float64", "float", "half", "auto")
