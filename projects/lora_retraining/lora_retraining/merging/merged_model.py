"""Merge a whole model: refusals first, then the weights, then the small files. The model appears in one step."""

import dataclasses
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from projects_common.models.headers import FLOAT_BYTES, TensorHeader, read_headers
from projects_common.models.loading import ModelFiles

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.checks.base_precision import check_base_precision
from lora_retraining.merging.adapter import Adapter, read_adapter
from lora_retraining.merging.blocks import Written, write_merged
from lora_retraining.merging.files import SHARD_BYTES, Verification, expected_headers, tokenizer_files, verify
from lora_retraining.merging.refusals import (
    BASE_PRECISION,
    check_base,
    check_disk,
    check_tokenizers,
    out_of_memory_reported,
    refuse,
)
from mlflow_plugin.errors import PhaseError

_logger = logging.getLogger(__name__)

DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
_STORED = {"bfloat16": "BF16", "float32": "F32"}


@dataclass(frozen=True)
class MergedModel:
    """A merged model.

    Attributes:
        adapter: Without its changes.
        base_matches: The base is the adapter's own, by digest; False only if that refusal was overridden.
    """

    files: ModelFiles
    base: ModelFiles
    adapter: Adapter
    dtype: str
    base_matches: bool
    written: Written
    verification: Verification


def merge_adapter(
    adapter_folder: Path,
    base: ModelFiles,
    folder: Path,
    dtype: str = "bfloat16",
    device: torch.device | str = "cpu",
    override: Collection[str] = (),
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[Sequence[Any]], Iterator[Any]] = iter,
) -> MergedModel:
    """Merge an adapter into its base; `folder` then holds a model that transformers loads.

    Until all is written the folder's name ends in `.partial`: half of a model is never taken for one.

    Args:
        adapter_folder: The adapter.
        base: The model to merge into.
        folder: The folder to make.
        dtype: A key of DTYPES.
        device: The device that computes.
        override: Names of refusals that are only logged.
        shard_bytes: Bytes of one file at most.
        progress: Yields the blocks and shows how many are done.

    Raises:
        PhaseError: The adapter does not fit; the base is not its own, is quantised or damaged; disk or memory run
            out.
    """
    headers = read_headers(base.folder)
    precision = check_base_precision(base.source, base)
    if precision.status == "fail":
        refuse(BASE_PRECISION, f"the base is not in full precision: {precision.detail}. {precision.remedy}", override)
    adapter = read_adapter(adapter_folder, base, headers)
    check_tokenizers(adapter, base, override)
    base_matches = check_base(adapter, base, override)
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(parents=True)
    try:
        check_disk(partial, expected_headers(headers, DTYPES[dtype], partial, shard_bytes))
        with out_of_memory_reported("weights were merged"):
            written = write_merged(
                headers, adapter.changes, partial, DTYPES[dtype], torch.device(device), shard_bytes, progress
            )
        _write_small_files(base, partial, dtype)
        os.rename(partial, folder)
    except OSError as error:
        raise PhaseError(f"the merged model could not be put into {folder}: {error}. Merge it again.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    verification = verify(folder, headers, _STORED[dtype], base.folder)
    files = ModelFiles("the merged model", folder, "", {**base.config, "dtype": dtype})
    # The change is in the files now; beside a model that is loaded to be tried, it would only take memory.
    kept = dataclasses.replace(adapter, changes={})
    return MergedModel(files, base, kept, dtype, base_matches, written, verification)


def _write_small_files(base: ModelFiles, folder: Path, dtype: str) -> None:
    """Write the base's configuration with the merged dtype, its generation settings and its tokenizer as they are."""
    kept = {name: value for name, value in base.config.items() if name not in ("quantization_config", "torch_dtype")}
    config = {**kept, "dtype": dtype}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    for file in (*tokenizer_files(base.folder), base.folder / "generation_config.json"):
        if file.is_file():
            shutil.copyfile(file, folder / file.name)


def reference_base(merged: MergedModel) -> ModelFiles:
    """Return the base that the adapter was trained against: the merged model has to agree with it.

    If it is not the base at hand, it is looked for at the place in base.json. If it is not there any more, or has
    changed, a warning says so, and the base at hand is returned.
    """
    recorded = merged.adapter.base
    if merged.base_matches or not recorded.get("weights_digest"):
        return merged.base
    try:
        files = find_model(str(recorded.get("source")))
        if weights_digest(files.folder) == recorded["weights_digest"]:
            return files
        why = f"{files.folder} has changed since"
    except PhaseError as error:
        why = str(error)
    _logger.warning(f"the base that the adapter was trained against cannot be compared with: {why}")
    return merged.base


def stored_dtype(headers: Sequence[TensorHeader]) -> torch.dtype:
    """Return the dtype in which a model loses nothing: bfloat16 if all its floats are that, else float32."""
    floats = {header.dtype for header in headers if header.dtype in FLOAT_BYTES}
    return torch.bfloat16 if floats == {"BF16"} else torch.float32
