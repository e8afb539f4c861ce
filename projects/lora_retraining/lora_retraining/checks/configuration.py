"""Find settings in a project's configuration files that ask for a quantised base: YAML and JSON files, the MLproject
file among them, whose values scripts only pass on.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from lora_retraining.checks.quantised_names import quantised_model
from mlflow_plugin.project.digests import walk_files

SWITCHES = ("load_in_4bit", "load_in_8bit")
_MORE_SWITCHES = ("quantization_config", "quantization_bit", "bnb_4bit_quant_type")
_OFF = ("", "0", "false", "no", "none", "null", "off", "auto")
_SUFFIXES = (".yaml", ".yml", ".json")
_SHELL = (".sh", ".bash")
_OPTION = re.compile(r"--(load[-_]in[-_][48]bit)(?:[= ]+(\S+))?")
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_WEIGHTS = (".safetensors", ".gguf")
_LARGEST = 2**20
"""Bytes; larger files are data."""
NO_CODE = ("__pycache__", "node_modules", "site-packages", "venv", "mlruns", "mlartifacts")


def configuration_files(project: Path) -> list[Path]:
    """List the YAML, JSON and shell files below a project in order, without those beside weights: they belong to a
    model.
    """
    paths = sorted(path for _, path in walk_files(project, lambda name: name.startswith(".") or name in NO_CODE))
    models = {path.parent for path in paths if path.suffix in _WEIGHTS}
    kinds = (*_SUFFIXES, *_SHELL)
    return [
        path
        for path in paths
        if (path.suffix in kinds or path.name == "MLproject")
        and path.parent not in models
        and path.stat().st_size <= _LARGEST
    ]


def quantised_configuration(file: Path) -> list[str]:
    """List the settings of a file that ask for quantised weights; none for a file that cannot be parsed."""
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix in _SHELL:
            return list(_options(_COMMENT.sub("", text)))
        content = json.loads(text) if file.suffix == ".json" else list(yaml.safe_load_all(text))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return []
    return list(dict.fromkeys(_asked_for(content)))


def _asked_for(content: Any) -> Iterator[str]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in (*SWITCHES, *_MORE_SWITCHES) and not _is_off(value):
                yield f"sets {key}: {str(value)[:40]}"
            elif key == "adapter" and value == "qlora":  # As axolotl calls a quantised base.
                yield "sets adapter: qlora"
            else:
                yield from _asked_for(value)
    elif isinstance(content, Sequence) and not isinstance(content, str | bytes):
        for item in content:
            yield from _asked_for(item)
    elif isinstance(content, str):
        if quantised_model(content):
            yield f"names {content!r}"
        yield from _options(content)


def _is_off(value: Any) -> bool:
    """Tell if a value switches nothing on. The value of an MLproject parameter is its default."""
    if isinstance(value, Mapping) and "default" in value:
        return _is_off(value["default"])
    return not value or str(value).lower() in _OFF


def _options(command: str) -> Iterator[str]:
    """Yield options of command lines. With a parameter's name in braces they are what that parameter is."""
    for option, value in _OPTION.findall(command):
        if value.lower() not in _OFF[1:] and not value.startswith("{"):
            yield f"passes --{option}"
