"""Define the parameters of all phases once: their types, their allowed values and what `auto` means in each preset.

`llama-3.1-8b` holds the published figures of the recipe for an A100 with 80 GB: rank 64, alpha 16, dropout 0.05, all
seven projections, 2e-4 with a cosine after 100 warm-up steps, batches of 8 four times a step. `smollm2` is the same
recipe for two CPU cores and minutes. `tiny` takes seconds and serves the tests. This module imports no torch.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.fields import FieldInfo

from mlflow_plugin.errors import UsageError

AUTO: Literal["auto"] = "auto"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear maps of a layer that get an adapter: those of attention and of the gated feed-forward part."""

GateFigures = tuple[str, str, float, float]
"""Of a gate: dataset (or `math`, `code`, `all`), measure, limit of success, limit of a red flag."""

WITHIN_10_PERCENT: GateFigures = ("all", "baseline_ratio", 0.90, 0.80)
"""Judged if there is a baseline: a tenth less is still a success, a fifth less is a red flag."""
NOT_WORSE: tuple[GateFigures, ...] = (("math", "gain", 0.0, -0.10), ("code", "gain", 0.0, -0.10))
"""Against the base model: a retrained model must not lose a tenth of all tasks."""
PUBLISHED: tuple[GateFigures, ...] = (("gsm8k", "ties", 0.60, 0.50), ("code", "wins", 0.40, 0.30))
"""The published figures. Their reference is a strong model of another family."""


def _whole(value: Any) -> Any:
    """Read `8.0` and `1e3` as whole numbers, too."""
    number = float(value) if isinstance(value, str) else value
    return int(number) if isinstance(number, float) and number.is_integer() else value


def _names(value: Any) -> Any:
    """Split a text at its commas; `none` is the empty list."""
    if not isinstance(value, str):
        return value
    return () if value.strip() == "none" else tuple(name.strip() for name in value.split(","))


def _counts(value: Any) -> Any:
    """Read `gsm8k=50,25` as (("gsm8k", 50), ("", 25))."""
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str):
        return value
    parts = [part.rpartition("=") for part in value.split(",")]
    pairs = tuple((name.strip(), _whole(count)) for name, _, count in parts)
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a test set is named twice")
    return pairs


_SOURCE = "generated, a dataset of the Hugging Face Hub, a folder or a file"
_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
_Count = Annotated[int, BeforeValidator(_whole), Ge(0)]
_Positive = Annotated[int, BeforeValidator(_whole), Ge(1)]
_Above0 = Annotated[float, Gt(0), Field(allow_inf_nan=False)]
_Device = Annotated[str, StringConstraints(pattern=re.compile(r"^(auto|cpu|mps|(cuda|xpu)(:\d+)?)$"))]


class Settings(BaseModel):
    """Hold a value for every parameter.

    The `description` of a field lists its allowed values where its type does not say them. `dtype` and `device` may
    stay `auto`: they are chosen by the hardware.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Literal["tiny", "smollm2", "llama-3.1-8b", "qwen2.5-7b"]
    model: Annotated[_Text, Field(description="tiny, smollm2, a model of the Hugging Face Hub or a folder")]
    data: Annotated[_Text, Field(description=_SOURCE)]
    """The data to train on."""
    test_data: Annotated[
        tuple[_Text, ...],
        BeforeValidator(_names),
        Field(min_length=1, description=f"several of gsm8k, humaneval, mbpp, {_SOURCE}, with commas in between"),
    ]
    """The data to validate on."""
    gates: tuple[GateFigures, ...]
    """The limits that the validated model must reach. Not a parameter."""
    strong_gates: tuple[GateFigures, ...] = ()
    """Replaces `gates` if the reference is a strong model, a transcript or a judge. Not a parameter."""
    limit: _Count = 0
    """Rows to train on at most; 0 for all."""
    rank: _Positive = 64
    alpha: _Above0 = 16.0
    """The adapter's part is scaled by alpha / rank (Hu et al. 2021, section 4.1)."""
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.05
    learning_rate: _Above0 = 2e-4
    epochs: _Above0 = 1.0
    failure_tasks: _Count = 1000
    """Tasks of the train split on which the merged model is tried for failures; 0 for all."""
    failure_learning_rate: _Above0 = 1e-4
    failure_epochs: _Above0 = 3.0
    """Of `train_1b`. Its rows are the failures, tens rather than thousands: a lower rate and more epochs."""
    batch_size: _Positive = 8
    """Examples at once on each device; with `packed`, sequences of `max_length` tokens."""
    accumulation: _Positive = 4
    """Batches in one step of the optimizer."""
    processes: _Count = 0
    """Processes that share the batches of a step; 0: one on each GPU, if the model fits on one."""
    max_length: Annotated[int, BeforeValidator(_whole), Ge(16)] = 2048
    """Tokens of the longest row."""
    warmup_steps: _Count = 100
    """At most; never more than a tenth of all steps."""
    gradient_checkpointing: bool = True
    packing: Literal["packed", "grouped"] = "packed"
    """`packed`: several rows in one sequence, kept apart; `grouped`: rows of like length in one batch, padded."""
    dtype: Literal["auto", "bfloat16", "float32"] = AUTO
    device: Annotated[_Device, Field(description="auto, cpu, cuda, cuda:0, mps or xpu")] = AUTO
    seed: _Count = 0
    merge_dtype: Literal["bfloat16", "float32"] = "bfloat16"
    samples: Annotated[
        tuple[tuple[str, _Count], ...],
        BeforeValidator(_counts),
        Field(description="a number from 0 (all), or numbers by test set: gsm8k=50,humaneval=25"),
    ] = (("", 50),)
    """Test tasks by dataset; the empty name stands for all others. 0 for all there are."""
    max_new_tokens: _Positive = 512
    reference: Annotated[
        _Text, Field(description="base, none, judge, a model, a folder, or a transcript that ends in .jsonl")
    ] = "base"
    """The model, transcript or judge that the validated model is compared with."""
    judge_url: Annotated[_Text, Field(description="an address, or none")] = "none"
    judge_model: Annotated[_Text, Field(description="a model's name, or none")] = "none"
    baseline: Annotated[_Text, Field(description="a results.json, or none")] = "none"
    """Earlier results to be within 10% of."""
    override: Annotated[
        tuple[_Text, ...], BeforeValidator(_names), Field(description="names of checks with commas in between, or none")
    ] = ()
    """Names of checks whose failure is overridden."""

    def samples_of(self, dataset: str) -> int:
        """Return the number of tasks of a test set to validate on; 0 for all."""
        counts = dict(self.samples)
        return counts.get(dataset, counts.get("", 0))

    def for_failures(self) -> "Settings":
        """Return the settings of a training on failures, with its own learning rate and epochs."""
        return self.changed(learning_rate=self.failure_learning_rate, epochs=self.failure_epochs)

    def changed(self, **values: Any) -> "Settings":
        """Return a copy with these values; they are not checked again."""
        return self.model_copy(update=values)


PARAMETERS = tuple(name for name in Settings.model_fields if name not in ("gates", "strong_gates"))
"""Every parameter of every phase."""

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
        max_new_tokens=48,  # As long as the shorter right answers, or no answer could be graded as wrong.
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


def add_arguments(parser: argparse.ArgumentParser, *names: str) -> None:
    """Declare parameters as options of a script: `learning_rate` as `--learning-rate`.

    Each option takes a text and is `auto` unless it is given; `read_settings` reads them.
    """
    for name in names:
        default = "smollm2" if name == "preset" else AUTO
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=allowed(name).replace("%", "%%"))


def read_settings(arguments: argparse.Namespace | Mapping[str, Any]) -> Settings:
    """Return the settings of a command line. A parameter that is missing, None or `auto` takes the preset's value.

    Args:
        arguments: Values by parameter, as texts or as what the texts stand for. Other names are ignored, so a script
            can have arguments of its own.

    Raises:
        UsageError: One line for each value that is not allowed: the parameter, the value and the allowed values.
    """
    every = dict(arguments) if isinstance(arguments, Mapping) else vars(arguments)
    given = {name: every[name] for name in PARAMETERS if every.get(name) is not None and every[name] != AUTO}
    preset = PRESETS.get(str(given.get("preset", "smollm2")), PRESETS["smollm2"])
    try:
        chosen = Settings.model_validate(preset.model_dump() | given)
    except ValidationError as error:
        faulty = dict.fromkeys(str(fault["loc"][0]) for fault in error.errors())
        raise UsageError("\n".join(_fault(name, given[name]) for name in faulty)) from error
    strong = chosen.strong_gates and chosen.reference not in ("base", "none")
    return chosen.changed(gates=chosen.strong_gates) if strong else chosen


def _fault(name: str, value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return f"{name} = {text!r} is not possible. It may be: {allowed(name)}."


def allowed(name: str) -> str:
    """Say in words what a parameter may be.

    >>> allowed("rank"), allowed("packing"), allowed("dropout")
    ('auto, a whole number from 1', 'auto, packed, grouped', 'auto, a number from 0 and below 1')
    """
    field = Settings.model_fields[name]
    words = field.description or _words_of_type(field)
    return words if name == "preset" or words.startswith(AUTO) else f"{AUTO}, {words}"


def _words_of_type(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    if field.annotation is bool:
        return "true or false"
    kind = "a whole number" if field.annotation is int else "a number"
    return f"{kind} {' and '.join(_words_of_limits(field))}"


def _words_of_limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        if isinstance(limit, Ge):
            yield f"from {limit.ge:g}"
        elif isinstance(limit, Gt):
            yield f"above {limit.gt:g}"
        elif isinstance(limit, Lt):
            yield f"below {limit.lt:g}"
