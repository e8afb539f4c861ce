"""The keys of `phase:` in an MLproject file, with their types and the texts that name the allowed values."""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from mlflow_plugin.project.project import AskAbove, CheckpointPolicy
from mlflow_plugin.project.vocabulary import EnvironmentPolicy, External, Link, Observe


class QualityKeys(BaseModel):
    model_config = ConfigDict(extra="forbid")
    metric: str = Field(min_length=1)
    good: float = Field(allow_inf_nan=False)
    poor: float = Field(allow_inf_nan=False)
    higher_is_better: bool = True


class CheckpointKeys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    every: int | None = Field(default=None, ge=1)
    keep_last: int = Field(default=CheckpointPolicy.keep_last, ge=1)
    keep_best: int = Field(default=CheckpointPolicy.keep_best, ge=0)
    keep_every: int | None = Field(default=None, ge=1)


class AskAboveKeys(BaseModel):
    model_config = ConfigDict(extra="forbid")
    minutes: float = Field(default=AskAbove.minutes, ge=0, allow_inf_nan=False)
    usd: float = Field(default=AskAbove.usd, ge=0, allow_inf_nan=False)


class ResourceKeys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    cpus: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    gpus: int = Field(default=0, ge=0)
    memory: str | int = 0


class PipelineKeys(BaseModel):
    model_config = ConfigDict(strict=True)
    jobs: int = Field(default=1, ge=1)
    keep_going: bool = False


class PhaseKeys(BaseModel):
    model_config = ConfigDict(extra="forbid")
    needs: list[str] = []
    ignore: list[str] = []
    quality: QualityKeys | None = None
    gates: list[str] = []
    max_age: str | None = None
    code: list[str] | None = None
    timeout_minutes: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    size: list[str] = []
    checkpoints: CheckpointKeys = CheckpointKeys()
    paths: list[str] = []
    observe: Observe = "all"
    ignore_reads: list[str] = []
    external: External = "mention"
    not_paths: list[str] = []
    environment: EnvironmentPolicy = "mention"
    ask_above: AskAboveKeys | float | None = None
    outputs: list[str] | None = None
    link: Link = "copy"
    inputs: dict[str, str] = {}
    resources: ResourceKeys = ResourceKeys()
    extend: list[str] = []
    matrix: dict[str, Any] | None = None
    exclude: list[dict[str, Any]] = []
    at_least: int | None = Field(default=None, ge=1, strict=True)
    at_most: int | None = Field(default=None, ge=1, strict=True)


ALLOWED = {
    "needs": "a list of phase names, and of FOLDER#PHASE for phases of other MLproject files",
    "ignore": "a list of this entry point's parameters",
    "quality": "{metric: NAME, good: NUMBER, poor: NUMBER, higher_is_better: true | false}",
    "gates": "a list of conditions such as 'held_out_fidelity > 0.5'",
    "max_age": "a number and a unit: 30m, 12h, 7d or 2w",
    "code": "a list of files and folders of the project or its git repository",
    "timeout_minutes": "a number above 0",
    "size": "a list of this entry point's numeric parameters that scale its duration",
    "checkpoints": "{every: STEPS, keep_last: COUNT, keep_best: COUNT, keep_every: STEPS}, whole numbers from 1; "
    "keep_best may be 0",
    "paths": "a list of this entry point's parameters",
    "observe": "all, project or none",
    "ignore_reads": "a list of patterns such as logs/**",
    "external": "mention, ask or ignore",
    "not_paths": "a list of this entry point's parameters",
    "environment": "ignore, mention, ask or count",
    "outputs": "a list of files, folders and patterns of the project, such as data/processed or models/*.pkl",
    "link": "copy or hard, beside `outputs:`",
    "inputs": "{PARAMETER: PHASE/PATH}, such as {table: prepare/table.parquet}",
    "resources": "{cpus: NUMBER, gpus: COUNT, memory: SIZE}, a size such as 8G or 500M",
    "extend": "a list of this entry point's numeric parameters",
    "matrix": "{PARAMETER: [VALUE, ...]} for parameters of this entry point that change the result, such as "
    "{seed: [0, 1, 2]}",
    "exclude": "a list of combinations of a `matrix:`, such as [{seed: 0, rate: 0.1}]",
    "at_least": "a whole number from 1 to the number of runs of a `matrix:`",
    "at_most": "a whole number from 1, beside a `matrix:`",
    "ask_above": "{minutes: NUMBER, usd: NUMBER}, or 0 to ask always",
}


FILE_WIDE = (
    "max_age",
    "timeout_minutes",
    "checkpoints",
    "observe",
    "ignore_reads",
    "external",
    "environment",
    "ask_above",
)
ROOT_NAME = re.compile(r"[\w-]+")
