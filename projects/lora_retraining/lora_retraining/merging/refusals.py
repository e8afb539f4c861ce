"""Refuse a merge before it writes anything. Each refusal has a name by which it can be overridden."""

import logging
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from projects_common.models.headers import TensorHeader
from projects_common.models.loading import ModelFiles, load_tokenizer

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.merging.adapter import BASE_FILE, Adapter
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory, is_out_of_memory

_logger = logging.getLogger(__name__)

BASE_DIGEST = "base_digest"
BASE_PRECISION = "base_precision"
TOKENIZER = "tokenizer"


def refuse(name: str, message: str, override: Collection[str]) -> None:
    """Raise PhaseError with the message, or log it if the refusal is overridden."""
    if name not in override:
        raise PhaseError(f"{message} To merge anyway: -P override={name}")
    _logger.info(f"overridden ({name}): {message}")


def check_base(adapter: Adapter, base: ModelFiles, override: Collection[str]) -> bool:
    """Tell if the base has the very weights that the adapter was trained against, by digest; refuse it if not.

    Raises:
        PhaseError: It is another base, or the adapter has no base.json, so only the name of its base is known.
    """
    if not (recorded := adapter.base.get("weights_digest")):
        named = adapter.config.get("base_model_name_or_path") or "an unknown base"
        refuse(
            BASE_DIGEST,
            f"{adapter.folder} has no {BASE_FILE} with the digest of the base that it was trained against; its "
            f"configuration names {named}, the base at hand is {base.source}. Shapes fit, but that proves nothing.",
            override,
        )
        return False
    digest = weights_digest(base.folder)
    if digest == recorded:
        return True
    refuse(
        BASE_DIGEST,
        f"the adapter in {adapter.folder} was trained against {adapter.base.get('source', 'another base')} (weights "
        f"{recorded[:12]}, {adapter.base.get('dtype', 'dtype unknown')}), but the base at hand, {base.source} in "
        f"{base.folder}, has the weights {digest[:12]}. An adapter makes up for its own base's errors and fits no "
        "other. Merge it into its own base, or train it against this one.",
        override,
    )
    return False


def check_tokenizers(adapter: Adapter, base: ModelFiles, override: Collection[str]) -> None:
    """Refuse an adapter that was trained with another tokenizer than its base has: vocabulary, chat template, end."""
    if not (adapter.folder / "tokenizer_config.json").is_file():
        return
    theirs, ours = load_tokenizer(ModelFiles("the adapter", adapter.folder, "", {})), load_tokenizer(base)
    differing = [
        what
        for what, same in (
            ("vocabulary", theirs.get_vocab() == ours.get_vocab()),
            ("chat template", theirs.chat_template == ours.chat_template),
            ("end token", theirs.eos_token == ours.eos_token),
        )
        if not same
    ]
    if differing:
        refuse(
            TOKENIZER,
            f"the tokenizer in {adapter.folder} is not that of {base.folder}: other {', '.join(differing)}. The merged "
            "model gets the base's, and would be asked in a way that it was not trained for. Train with the base's.",
            override,
        )


def check_disk(folder: Path, headers: Sequence[TensorHeader]) -> None:
    """Raise PhaseError if the disk of a folder has too little room for these tensors."""
    needed = sum(header.bytes for header in headers)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise PhaseError(
            f"the disk of {folder} has {free:,} bytes free, the merged model needs {needed:,}: {needed - free:,} are "
            "missing. Make room, or set TMPDIR to a folder on a bigger disk, and merge again."
        )


@contextmanager
def out_of_memory_reported(doing: str) -> Iterator[None]:
    """Turn running out of memory inside the block into a PhaseError; `doing` continues "out of memory while"."""
    try:
        yield
        return
    except Exception as error:
        if isinstance(error, PhaseError) or not is_out_of_memory(error):
            raise
        what = " ".join(str(error).split())[:200] or type(error).__name__
    # Only here the exception is gone, and with its traceback the memory that it held.
    free_memory()
    raise PhaseError(
        f"out of memory while {doing} ({what}). End other programs that use this memory, or merge on another device "
        "(-P device=cpu, -P device=cuda). Nothing half written is kept."
    )
