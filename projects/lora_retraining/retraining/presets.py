"""The parameters of all phases: what each may be, and what a preset makes of those that are `auto`. No torch.

`llama-3.1-8b` has the published figures of the recipe for an A100 with 80 GB: rank 64, alpha 16, dropout 0.05, all
seven projections, 2e-4 with a cosine after 100 warm-up steps, batches of 8 four times a step. `smollm2` is the same
recipe for two CPU cores and minutes, `tiny` for tests and seconds.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlflow_plugin.errors import UsageError

AUTO = "auto"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a layer that get an adapter: those of attention and of the gated feed-forward part."""

GateFigures = tuple[str, str, float, float]
"""Of a gate: dataset (or `math`, `code`, `all`), measure, what counts as success, what counts as a red flag."""

WITHIN_10_PERCENT: GateFigures = ("all", "baseline_ratio", 0.90, 0.80)
"""Looked at where there is a baseline: a tenth less is still a success, a fifth less a red flag."""
NOT_WORSE: tuple[GateFigures, ...] = (("math", "gain", 0.0, -0.10), ("code", "gain", 0.0, -0.10))
"""Against the base model: a retrained model may not have lost a tenth of all tasks."""
PUBLISHED: tuple[GateFigures, ...] = (("gsm8k", "ties", 0.60, 0.50), ("code", "wins", 0.40, 0.30))
"""The published figures; the reference there is a strong model of another family."""


@dataclass(frozen=True)
class Settings:
    """A value for every parameter. `dtype` and `device` may stay `auto`: `base_model.py` decides by what is there."""

    preset: str
    model: str
    """`tiny`, `smollm2`, a model of the Hugging Face Hub, or a folder."""
    data: str
    """What is trained on: `generated`, a dataset of the Hub, a folder or a file."""
    test_data: tuple[str, ...]
    """What is validated on, alike, or one of `gsm8k`, `humaneval`, `mbpp`."""
    gates: tuple[GateFigures, ...]
    """What the validated model has to reach."""
    strong_gates: tuple[GateFigures, ...] = ()
    """In place of `gates` when the reference is a strong model, a transcript or a judge: not the base, not none."""
    limit: int = 0
    """At most so many rows to train on; 0 for all."""
    rank: int = 64
    alpha: float = 16.0
    """The adapter's part is scaled by alpha / rank (Hu et al. 2021, section 4.1)."""
    dropout: float = 0.05
    learning_rate: float = 2e-4
    epochs: float = 1.0
    failure_tasks: int = 1000
    """Tasks of the train split that the merged model is tried on for failures; 0 for all."""
    failure_learning_rate: float = 1e-4
    failure_epochs: float = 3.0
    """Of `train_1b`, whose rows are the failures: tens rather than thousands, so gentler and more often."""
    batch_size: int = 8
    """Examples at once on each device; with `packed`, sequences of `max_length` tokens."""
    accumulation: int = 4
    """How many such batches make one step of the optimizer."""
    processes: int = 0
    """How many share the batches of a step between them; 0: one on each GPU, if the model fits on one."""
    max_length: int = 2048
    """Tokens of the longest row."""
    warmup_steps: int = 100
    """At most; never more than a tenth of all steps."""
    gradient_checkpointing: bool = True
    packing: str = "packed"
    """`packed`: several rows in one sequence, kept apart; `grouped`: rows of like length in one batch, padded."""
    dtype: str = AUTO
    device: str = AUTO
    seed: int = 0
    merge_dtype: str = "bfloat16"
    samples: tuple[tuple[str, int], ...] = (("", 50),)
    """Test tasks by dataset; the empty name stands for all others. 0 for all there are."""
    max_new_tokens: int = 512
    reference: str = "base"
    """What the validated model is compared with: `base`, `none`, a model, a transcript (`.jsonl`) or `judge`."""
    judge_url: str = "none"
    judge_model: str = "none"
    baseline: str = "none"
    """Earlier results to be within 10% of: a `results.json`, or `none`."""
    override: tuple[str, ...] = ()
    """Names of checks that may refuse in vain."""

    def samples_of(self, dataset: str) -> int:
        """How many tasks of a test set are validated on; 0 for all."""
        counts = dict(self.samples)
        return counts.get(dataset, counts.get("", 0))


PRESETS: Mapping[str, Settings] = {
    "tiny": Settings(
        preset="tiny",
        model="tiny",
        data="generated",
        test_data=("generated",),
        gates=(("all", "accuracy", 0.0, 0.0),),  # Two random layers learn nothing that could be graded.
        limit=48,
        failure_tasks=24,
        rank=4,
        alpha=8.0,
        dropout=0.0,
        learning_rate=1e-2,
        epochs=4.0,
        failure_learning_rate=1e-2,
        failure_epochs=4.0,
        batch_size=4,
        accumulation=1,
        max_length=512,
        warmup_steps=2,
        gradient_checkpointing=False,
        packing="packed",
        merge_dtype="float32",
        samples=(("", 8),),
        max_new_tokens=48,  # As long as the shorter right answers, or nothing could be said to be wrong.
    ),
    "smollm2": Settings(
        preset="smollm2",
        model="smollm2",
        data="generated",
        test_data=("generated",),
        gates=(("math", "gain", 0.10, 0.0), ("code", "accuracy", 0.70, 0.50), WITHIN_10_PERCENT),
        limit=960,  # With batches of 4: 240 steps, about 5 minutes on two idle cores with AVX512-BF16.
        learning_rate=1e-3,
        failure_tasks=320,
        failure_learning_rate=1e-4,
        failure_epochs=1.0,
        batch_size=4,
        accumulation=1,
        max_length=512,
        warmup_steps=10,
        gradient_checkpointing=False,
        packing="grouped",
        merge_dtype="float32",
        samples=(("", 128),),
        max_new_tokens=96,
    ),
    "llama-3.1-8b": Settings(
        preset="llama-3.1-8b",
        model="meta-llama/Llama-3.1-8B-Instruct",
        data="openai/gsm8k",
        test_data=("gsm8k", "humaneval", "mbpp"),
        gates=(*NOT_WORSE, WITHIN_10_PERCENT),
        strong_gates=(*PUBLISHED, WITHIN_10_PERCENT),
        samples=(("gsm8k", 50), ("humaneval", 25), ("mbpp", 25)),
    ),
    "qwen2.5-7b": Settings(
        preset="qwen2.5-7b",
        model="Qwen/Qwen2.5-7B-Instruct",
        data="openai/gsm8k",
        test_data=("gsm8k", "humaneval", "mbpp"),
        gates=(*NOT_WORSE, WITHIN_10_PERCENT),
        strong_gates=(*PUBLISHED, WITHIN_10_PERCENT),
        samples=(("gsm8k", 50), ("humaneval", 25), ("mbpp", 25)),
    ),
}


@dataclass(frozen=True)
class _Kind:
    """How the text of a parameter is read. `read` raises ValueError for what is not allowed."""

    allowed: str
    read: Callable[[str], Any]


def _whole(least: int) -> _Kind:
    def read(text: str) -> int:
        value = float(text)
        if not value.is_integer() or value < least:
            raise ValueError(text)
        return int(value)

    return _Kind(f"a whole number from {least}", read)


def _number(above: float, below: float = math.inf, *, least: bool = False) -> _Kind:
    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value >= below or value < above or (value == above and not least):
            raise ValueError(text)
        return value

    ends = "" if below == math.inf else f" and below {below:g}"
    return _Kind(f"a number {'from' if least else 'above'} {above:g}{ends}", read)


def _one_of(*choices: str) -> _Kind:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return _Kind(", ".join(choices), read)


def _text(allowed: str) -> _Kind:
    def read(text: str) -> str:
        if not text.strip():
            raise ValueError(text)
        return text.strip()

    return _Kind(allowed, read)


def _truth(text: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]


def _names(text: str) -> tuple[str, ...]:
    if text.strip() == "none":
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError(text)
    return names


def _sources(text: str) -> tuple[str, ...]:
    if not (names := _names(text)):
        raise ValueError(text)
    return names


def _device(text: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d+)?", text):
        raise ValueError(text)
    return text


def _samples(text: str) -> tuple[tuple[str, int], ...]:
    counts = []
    for part in text.split(","):
        name, _, count = part.rpartition("=")
        counts.append((name.strip(), _whole(0).read(count)))
    if len(dict(counts)) != len(counts):
        raise ValueError(text)
    return tuple(counts)


_DTYPE = _one_of(AUTO, "bfloat16", "float32")
_SOURCE = "generated, a dataset of the Hugging Face Hub, a folder or a file"
PARAMETERS: Mapping[str, _Kind] = {
    "preset": _one_of(*PRESETS),
    "model": _text("tiny, smollm2, a model of the Hugging Face Hub or a folder"),
    "data": _text(_SOURCE),
    "test_data": _Kind(f"several of gsm8k, humaneval, mbpp, {_SOURCE}, with commas in between", _sources),
    "limit": _whole(0),
    "rank": _whole(1),
    "alpha": _number(0),
    "dropout": _number(0, 1, least=True),
    "learning_rate": _number(0),
    "epochs": _number(0),
    "failure_tasks": _whole(0),
    "failure_learning_rate": _number(0),
    "failure_epochs": _number(0),
    "batch_size": _whole(1),
    "accumulation": _whole(1),
    "processes": _whole(0),
    "max_length": _whole(16),
    "warmup_steps": _whole(0),
    "gradient_checkpointing": _Kind("true or false", _truth),
    "packing": _one_of("packed", "grouped"),
    "dtype": _DTYPE,
    "device": _Kind("auto, cpu, cuda, cuda:0, mps or xpu", _device),
    "seed": _whole(0),
    "merge_dtype": _one_of("bfloat16", "float32"),
    "samples": _Kind("a number from 0 (all), or numbers by test set: gsm8k=50,humaneval=25", _samples),
    "max_new_tokens": _whole(1),
    "reference": _text("base, none, judge, a model, a folder, or a transcript that ends in .jsonl"),
    "judge_url": _text("an address, or none"),
    "judge_model": _text("a model's name, or none"),
    "baseline": _text("a results.json, or none"),
    "override": _Kind("names of checks with commas in between, or none", _names),
}
"""Every parameter, with what it may be besides `auto`."""


def add_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Declares those parameters as options of a script: `learning_rate` as `--learning-rate`. Each is a text and
    `auto` when it is not given; `settings` reads them.
    """
    for name in names:
        option = f"--{name.replace('_', '-')}"
        if name == "preset":
            parser.add_argument(option, default="smollm2", help=PARAMETERS[name].allowed)
        else:
            parser.add_argument(option, default=AUTO, help=f"auto, or {PARAMETERS[name].allowed}".replace("%", "%%"))


def settings(arguments: argparse.Namespace | Mapping[str, Any]) -> Settings:
    """The values that these arguments stand for; parameters that are missing, None or `auto` are the preset's.

    Names that are no parameters are passed over, so that a script's own arguments may be among them. Raises UsageError
    for a value that is not allowed, naming the parameter, the value and what may stand there.
    """
    given = dict(arguments) if isinstance(arguments, Mapping) else vars(arguments)
    texts = {name: _as_text(given[name]) for name in PARAMETERS if given.get(name) is not None and given[name] != AUTO}
    values = {name: _read(name, text) for name, text in texts.items()}
    preset = PRESETS[values.pop("preset", "smollm2")]
    chosen = replace(preset, **values)
    strong = chosen.strong_gates and chosen.reference not in ("base", "none")
    return replace(chosen, gates=chosen.strong_gates) if strong else chosen


def _as_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _read(name: str, text: str) -> Any:
    kind = PARAMETERS[name]
    try:
        return kind.read(text)
    except (ValueError, KeyError, OverflowError) as error:
        also = "" if name == "preset" else "auto, "
        raise UsageError(f"{name} = {text!r} is not possible. It may be: {also}{kind.allowed}.") from error
