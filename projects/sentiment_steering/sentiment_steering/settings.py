"""Declare the parameters of the four phases: their types, limits, defaults, and the values that `auto` stands for."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from projects_common.settings import Settings
from pydantic import BeforeValidator, Field, FiniteFloat, NonNegativeInt, PositiveInt, model_validator

HUB_MODELS = {
    "gpt2": "openai-community/gpt2",
    "qwen2.5-3b": "Qwen/Qwen2.5-3B",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
}
"""Presets that are a model of the Hugging Face Hub. Any other Hub id or a local folder is taken as given."""
MODELS = f"tiny, smollm2, {', '.join(HUB_MODELS)}"

Pooling = Literal["last", "mean"]
Method = Literal["procrustes", "cayley"]


def parse_strengths(text: Any) -> Any:
    """Return strengths from a text such as `0,2,6`: ascending, each once.

    >>> parse_strengths("6, 0,2")
    (0.0, 2.0, 6.0)

    Raises:
        ValueError: 0 is not among them, or no number above it.
    """
    try:
        strengths = sorted({float(part) for part in text.split(",")}) if isinstance(text, str) else sorted(set(text))
    except (TypeError, ValueError):
        strengths = []
    if len(strengths) < 2 or strengths[0] != 0 or not all(map(math.isfinite, strengths)):
        raise ValueError("give numbers such as 0,1,3; at strength 0 the phase checks that nothing changes")
    return tuple(strengths)


class Seeded(Settings):
    """Hold the parameter of all phases."""

    seed: NonNegativeInt = Field(default=0, description="seed of every random draw")


class Computing(Settings):
    """Hold the parameters of the phases that load the model. They change no result."""

    batch_size: PositiveInt = Field(default=16, description="texts at once")
    device: str = Field(
        default="auto", description="auto (the first accelerator, else the CPU), cpu, cuda, cuda:1, mps"
    )


class CollectSettings(Computing, Seeded):
    """Hold the parameters of phase 1."""

    preset: str = Field(default="smollm2", description=f"{MODELS}, a Hub id or a folder")
    data: Literal["auto", "rotten_tomatoes", "prompts"] = Field(
        default="auto", description="rotten_tomatoes, prompts for the file, or auto: the file for preset tiny only"
    )
    prompts: Path = Field(
        default=Path("projects/sentiment_steering/prompts.tsv"),
        description="file with lines of a label, positive or negative, a tab and a sentence",
    )
    pairs: int = Field(default=100, ge=4, description="training pairs")
    held_out: int = Field(default=50, ge=2, description="held-out pairs")
    layer: Literal["auto"] | NonNegativeInt = Field(
        default="auto", description="a number from 0, or auto: the first layer that a probe reads as well as any"
    )
    pooling: Pooling = Field(default="last", description="last token, or mean over all tokens but the first")

    @classmethod
    def of_preset(cls, preset: Any) -> Mapping[str, Any]:
        return {"data": "prompts" if preset == "tiny" else "rotten_tomatoes"}


class TrainSettings(Seeded):
    """Hold the parameters of phase 2."""

    method: Method = Field(default="procrustes", description="procrustes (closed form) or cayley (gradient steps)")
    epochs: PositiveInt = Field(default=100, description="gradient steps of cayley")
    learning_rate: FiniteFloat = Field(default=0.01, gt=0, description="step size of cayley")
    mu: Literal["auto"] | FiniteFloat = Field(
        default="auto", description="pull towards the identity: a number, or auto: cross-validated"
    )
    folds: int = Field(default=5, ge=2, description="folds of the cross-validation")

    @model_validator(mode="after")
    def _mu_fits_the_method(self) -> Self:
        least = "0 or more" if self.method == "cayley" else "above 0"
        if self.mu != "auto" and not (self.mu > 0 or (self.mu == 0 and self.method == "cayley")):
            raise ValueError(f"mu={self.mu}: {self.method} takes auto or a number {least}")
        return self


class InterveneSettings(Computing, Seeded):
    """Hold the parameters of phase 3."""

    strengths: Annotated[tuple[float, ...], BeforeValidator(parse_strengths)] = Field(
        default=(0, 2, 6), description="powers of the operator with commas in between, 0 among them"
    )
    openings: Path = Field(
        default=Path("projects/sentiment_steering/openings.txt"), description="file with an opening on each line"
    )
    new_tokens: PositiveInt = Field(default=24, description="tokens of a completion, at most")
    classifier: str = Field(
        default="none", description="a text classifier of the Hub or a folder, for a third score, or none"
    )


class ReversibilitySettings(Seeded):
    """Hold the parameter of phase 4."""
