"""Check that the tokenizer belongs to the model, formats chats, and ends an answer."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from projects_common.models.headers import TensorHeader

from lora_retraining.checks.checklist import Check
from lora_retraining.data.chat import end_token_id
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.digests import value_digest

_LEAST_SHARE = 0.8
"""Of the rows of an embedding that a tokenizer must have tokens for: models pad theirs, by less than that."""
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


def check_tokenizer(
    tokenizer: Any, config: Mapping[str, Any], generation: Mapping[str, Any], headers: Sequence[TensorHeader]
) -> Check:
    """Check a tokenizer against the model's config.json, generation_config.json ({} if there is none) and headers."""
    try:
        end = end_token_id(tokenizer)
    except PhaseError as error:
        return Check("tokenizer", "fail", str(error), "Training text would lack the tokens of validation's prompts.")
    wrong = [*_vocabulary(tokenizer, headers), *_special_tokens(tokenizer, {**config, **generation}, end)]
    if wrong:
        remedy = "Put the tokenizer of this very model into its folder: tokenizer.json, tokenizer_config.json."
        return Check("tokenizer", "fail", "; ".join(wrong), remedy)
    token = tokenizer.convert_ids_to_tokens(end)
    pad = tokenizer.pad_token or f"none, so {tokenizer.convert_ids_to_tokens(0)!r}, which is masked"
    template = value_digest(tokenizer.get_chat_template())[:12]
    seen = f"{len(tokenizer):,} tokens, chat template {template}, turns end with {token}, padding {pad}"
    if end not in _ids({**config, **generation}.get("eos_token_id")):
        return Check("tokenizer", "warn", f"{seen}; the model's own end token is another", "Generation stops at both.")
    return Check("tokenizer", "pass", seen)


def _vocabulary(tokenizer: Any, headers: Sequence[TensorHeader]) -> Iterator[str]:
    rows = next((header.shape[0] for header in headers if header.name.endswith(_EMBEDDINGS)), None)
    if rows is None:
        return
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= rows:
        yield f"the tokenizer has token ids up to {last:,}, the model embeds {rows:,}"
    elif last + 1 < _LEAST_SHARE * rows:
        yield f"the tokenizer has {last + 1:,} tokens, the model embeds {rows:,}: it is another model's"


def _special_tokens(tokenizer: Any, config: Mapping[str, Any], end: int) -> Iterator[str]:
    """Yield ids of the model's configuration that are other tokens in the tokenizer. Of several end tokens one must
    fit.
    """
    for name in ("bos_token_id", "eos_token_id"):
        ours, theirs = getattr(tokenizer, name), _ids(config.get(name))
        if ours is None or not theirs or ours in theirs or (name == "eos_token_id" and end in theirs):
            continue
        yield f"{name} is {ours} in the tokenizer and {', '.join(map(str, theirs))} in the model's configuration"


def _ids(value: Any) -> list[int]:
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def read_generation_config(folder: Path) -> dict[str, Any]:
    """Read generation_config.json, {} if it is missing or cannot be read, as transformers does."""
    import json

    try:
        settings = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
