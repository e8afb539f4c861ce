"""Compare a bad result with known failures, by checks in which each failure does the opposite of a sound model.

- wrong template: the model finds the right answers likelier under another prompt than under the chat template.
- no end token: it does not expect a right answer to end, and its own run into max_new_tokens.
- wrong checkpoint: its weights are the base's, or those of an earlier result.
- quantised base: the adapter was trained against the rounding errors of a 4-bit base. Put on the base as NF4 rounds it,
  it explains the training answers better than on the base as it is; an adapter of the full-precision base, worse.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from projects_common.models.headers import read_headers
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer
from projects_common.statistics import normal_quantile
from torch import Tensor

from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.data import chat
from lora_retraining.data.tasks import Task
from lora_retraining.settings import Settings
from lora_retraining.validation.outcomes import Item
from mlflow_plugin.errors import PhaseError

ANSWERS = 32
"""Right answers whose likelihood is compared."""
OTHER_TEMPLATES: Mapping[str, str] = {
    "no template": "{user}\n",
    "Alpaca's": "### Instruction:\n{user}\n\n### Response:\n",
    "question and answer": "Question: {user}\nAnswer: ",
}
NF4_LEVELS = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
"""Dettmers et al. 2023, "QLoRA", appendix E."""
NF4_BLOCK = 64


@dataclass(frozen=True)
class FailureSignature:
    """A known failure, if the result resembles it, and the figures that say so."""

    name: str
    resembles: bool
    evidence: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Advantage:
    """The mean of differences with its 95% interval, by the normal approximation of the mean."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def advantage(first: Sequence[float], second: Sequence[float]) -> Advantage:
    """Return how much larger the first numbers are than the second ones of the same items; at least two."""
    differences = [one - other for one, other in zip(first, second, strict=True)]
    half = normal_quantile(0.95) * stdev(differences) / sqrt(len(differences))
    return Advantage(mean(differences), mean(differences) - half, mean(differences) + half)


@torch.inference_mode()
def log_likelihoods(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Return the mean log-probability (nats) of a token of each answer after its prompt.

    Args:
        model: A causal model.
        tokenizer: Of the model.
        pairs: Prompt as text, and answer.
    """
    likelihoods = []
    for prompt, answer in pairs:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        after = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[*before, *after]], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=len(after) + 1).logits[0, :-1].float()
        chosen = logits.log_softmax(-1).gather(1, ids[0, len(before) :, None])
        likelihoods.append(float(chosen.mean()))
    return likelihoods


def wrong_template(model: Any, tokenizer: Any, tasks: Sequence[Task]) -> FailureSignature:
    """Tell if right answers are likelier under another template than under the one of training and validation."""
    name = "wrong template"
    answered = [task for task in tasks if task.answer.strip()][:ANSWERS]
    if len(answered) < 2:
        return FailureSignature(name, False, "unknown: fewer than two tasks have an answer")
    right = log_likelihoods(
        model, tokenizer, [(chat.prompt_text(tokenizer, task.prompt), task.answer) for task in answered]
    )
    gains = {}
    for other, template in OTHER_TEMPLATES.items():
        prompts = [(template.format(user=task.prompt), task.answer) for task in answered]
        gains[other] = advantage(log_likelihoods(model, tokenizer, prompts), right)
    best = max(gains, key=lambda other: gains[other].mean)
    evidence = (
        f"{len(answered)} right answers, in nats a token: {mean(right):.3f} under the chat template; the likeliest "
        f"other is {best}, which changes that by {gains[best]}"
    )
    return FailureSignature(name, gains[best].low > 0, evidence)


@torch.inference_mode()
def no_end_token(
    model: Any, tokenizer: Any, tasks: Sequence[Task], cut: float, reference_cut: float | None
) -> FailureSignature:
    """Tell if the model has not learnt to end its answers.

    Args:
        model: The failed model.
        tokenizer: Of the model.
        tasks: Tasks with right answers.
        cut: Share of its completions that had to be cut off.
        reference_cut: The same share of the reference; None without one.
    """
    end, chances = chat.end_token_id(tokenizer), []
    for task in [task for task in tasks if task.answer.strip()][:ANSWERS]:
        text = chat.prompt_text(tokenizer, task.prompt) + task.answer
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]], device=model.device)
        chances.append(float(model(input_ids=ids, logits_to_keep=1).logits[0, -1].float().softmax(-1)[end]))
    after = f"; after a right answer it is expected with {mean(chances):.1%} in the mean" if chances else ""
    other = "" if reference_cut is None else f" ({reference_cut:.0%} of the reference's)"
    evidence = f"{cut:.0%} of the completions ran into max_new_tokens{other}{after}"
    return FailureSignature("no end token", cut > 0.5 and bool(chances) and mean(chances) < 0.5, evidence)


def wrong_checkpoint(
    model: ModelFiles, others: Mapping[str, str], base: ModelFiles, same: float | None
) -> FailureSignature:
    """Tell if the weights are those of another run or of the base.

    Args:
        model: The failed model.
        others: Digests that it must not have, by name.
        base: The base of the settings.
        same: Share of completions that are the reference's, word for word; None without a reference.
    """
    digest = weights_digest(model.folder)
    equal = [name for name, other in others.items() if other == digest]
    changed, sampled = _changed_weights(model.folder, base.folder)
    evidence = f"{changed} of {sampled} weights looked at differ from the base's"
    if equal:
        evidence = f"the weights are those of {', '.join(equal)}, by digest; {evidence}"
    elif others:
        evidence += f"; by digest they are not those of {', '.join(others)}"
    if same is not None:
        evidence += f"; {same:.0%} of the completions are the reference's, word for word"
    return FailureSignature("wrong checkpoint", bool(equal) or (sampled > 0 and changed == 0), evidence)


def _changed_weights(folder: Path, base: Path, at_most: int = 64) -> tuple[int, int]:
    """Count the matrices that differ from the base's in the same dtype, and those compared: a sample over the model."""
    theirs = {header.name: header for header in read_headers(base)}
    both = [header for header in read_headers(folder) if len(header.shape) == 2 and header.name in theirs]
    step = max(1, len(both) // at_most)
    changed = 0
    for header in both[::step]:
        weight, other = _tensor(header.file, header.name), _tensor(theirs[header.name].file, header.name)
        changed += weight.shape != other.shape or not torch.equal(weight, other.to(weight.dtype))
    return changed, len(both[::step])


def _tensor(file: Path, name: str) -> Tensor:
    from safetensors import safe_open

    with safe_open(str(file), "pt") as opened:
        return opened.get_tensor(name)


def rounded_to_nf4(weight: Tensor) -> Tensor:
    """Return a weight as its NF4 form gives it back, of the same shape and dtype.

    Each block of 64 is scaled by its largest magnitude, and rounded to the nearest of 16 levels (Dettmers et al. 2023,
    "QLoRA", section 3). The scales are not rounded once more, as QLoRA's double quantisation would.
    """
    levels = torch.tensor(NF4_LEVELS, device=weight.device)
    flat = weight.float().reshape(-1)
    blocks = torch.nn.functional.pad(flat, (0, -len(flat) % NF4_BLOCK)).view(-1, NF4_BLOCK)
    scale = blocks.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    nearest = torch.bucketize(blocks / scale, (levels[1:] + levels[:-1]) / 2)
    return (levels[nearest] * scale).view(-1)[: len(flat)].view(weight.shape).to(weight.dtype)


@torch.no_grad()
def put_on_rounded_base(model: Any, base: Path) -> int:
    """Replace base + change by NF4(base) + change in the linear layers of a merged model; return how many.

    The model then computes as if its adapter were used on the quantised base. The output layer is not quantised, so it
    stays.
    """
    output = model.get_output_embeddings()
    linear = {f"{name}.weight": module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    count = 0
    for header in read_headers(base):
        module = linear.get(header.name)
        if module is None or module is output:
            continue
        weight = _tensor(header.file, header.name).to(module.weight.device, torch.float32)
        module.weight.copy_(module.weight.float() + rounded_to_nf4(weight) - weight)
        count += 1
    return count


def quantised_base(model: Any, tokenizer: Any, base: ModelFiles, rows: Sequence[Mapping[str, Any]]) -> FailureSignature:
    """Tell if the adapter fits the base as NF4 rounds it better than the base itself.

    This changes the model, so it is the last comparison.

    Args:
        model: The failed model.
        tokenizer: Of the model.
        base: The base of the settings.
        rows: The rows that its adapter was trained on.
    """
    name = "quantised base"
    pairs = [
        (chat.prompt_text(tokenizer, row["messages"][0]["content"]), row["messages"][1]["content"])
        for row in rows
        if [message["role"] for message in row["messages"]] == ["user", "assistant"]
    ][: 2 * ANSWERS]
    if len(pairs) < 2:
        return FailureSignature(
            name, False, "unknown: fewer than two rows of the training are a question and an answer"
        )
    plain = log_likelihoods(model, tokenizer, pairs)
    if not put_on_rounded_base(model, base.folder):
        return FailureSignature(name, False, "unknown: base and merged model share no linear layer")
    gained = advantage(log_likelihoods(model, tokenizer, pairs), plain)
    evidence = (
        f"{len(pairs)} answers of the training, in nats a token: {mean(plain):.3f} as merged; with the base rounded to "
        f"NF4 under the same adapter that changes by {gained}"
    )
    return FailureSignature(name, gained.low > 0, evidence)


def find_failure_signatures(
    files: ModelFiles, settings: Settings, items: Sequence[Item], rows: Path | None, digests: Mapping[str, str]
) -> list[FailureSignature]:
    """Compare a failed model with every known failure; it is loaded once more for that.

    A comparison that is not possible says so, and does not change the verdict.

    Args:
        files: The failed model.
        settings: With the model, dtype and device.
        items: The items that it failed on.
        rows: A file of the rows that its adapter was trained on; None if its base is not the one of the settings.
        digests: Digests of weights that it must not have, by name.
    """
    base = find_model(settings.model)
    tokenizer = load_tokenizer(files)
    tasks = [item.task for item in items]
    compared = [item for item in items if item.reference_completion is not None]
    cut = sum(item.cut for item in items) / max(1, len(items))
    other_cut = sum(item.reference_cut for item in compared) / len(compared) if compared else None
    same = mean(item.completion == item.reference_completion for item in compared) if compared else None
    known = {name: digest for name, digest in digests.items() if digest}
    model = load_model(files, settings.dtype, settings.device)
    signatures = [
        _signature_of("wrong template", lambda: wrong_template(model, tokenizer, tasks)),
        _signature_of("no end token", lambda: no_end_token(model, tokenizer, tasks, cut, other_cut)),
        _signature_of("wrong checkpoint", lambda: wrong_checkpoint(files, known, base, same)),
    ]
    if rows is None:
        return [*signatures, FailureSignature("quantised base", False, "unknown: its base is a merged model itself")]
    trained = [json.loads(line) for line in rows.read_text(encoding="utf-8").split("\n") if line]
    return [*signatures, _signature_of("quantised base", lambda: quantised_base(model, tokenizer, base, trained))]


def _signature_of(name: str, compare: Callable[[], FailureSignature]) -> FailureSignature:
    """Return the finding of a comparison. An error in it must not cost the verdict that it would only explain."""
    try:
        return compare()
    except (PhaseError, OSError, RuntimeError, ValueError, KeyError) as error:
        return FailureSignature(name, False, f"unknown: {' '.join(str(error).split())[:200]}")
