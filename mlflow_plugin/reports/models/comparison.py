"""Two runs of one phase side by side."""

from typing import Literal

from mlflow_plugin.reports.models.fields import Fields, Moment
from mlflow_plugin.reports.models.run import Run

FileChange = Literal["changed", "added", "removed", "cosmetic", "unknown", "same"]
"""The difference of a file. `cosmetic` is another text with the same syntax tree."""

Side = Literal["left", "right"]


class ParameterChange(Fields):
    """A parameter in both runs."""

    name: str
    """The parameter."""
    left: str | None
    """Its value in the left run; null when it has none."""
    right: str | None
    """Its value in the right run; null when it has none."""
    same: bool
    """True when both are the same value."""
    changes_result: bool
    """True when the parameter can change the result."""


class FileDiff(Fields):
    """A file of code in both runs."""

    path: str
    """Its path in the project."""
    change: FileChange
    """Its difference."""
    diff: str | None
    """The difference in the unified format; null when a text is missing."""
    note: str | None
    """The reason why there is no diff."""


class CommandChange(Fields):
    """The command of both runs."""

    left: str | None
    """That of the left run."""
    right: str | None
    """That of the right run."""
    same: bool
    """True when they are the same."""


class CodeChanges(Fields):
    """The code of both runs."""

    recorded: bool
    """True when both runs kept their code; otherwise files are compared by their digests."""
    summary: str
    """The difference in words."""
    command: CommandChange
    """The command."""
    files: list[FileDiff]
    """The files, changed ones first."""


class ComparedInput(Fields):
    """The run that fed an input."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of the id."""
    completed_at: Moment | None
    """The time at which it completed; null when it was deleted since."""
    output_digest: str | None
    """The digest of its outputs."""


class InputChange(Fields):
    """An input of both runs."""

    need: str
    """The phase that the input comes from."""
    left: ComparedInput | None
    """The run that fed the left run."""
    right: ComparedInput | None
    """The run that fed the right run."""
    same_bytes: bool | None
    """True when both gave the same bytes; null when that is not known."""


class SettingChange(Fields):
    """A package or a setting that differs."""

    name: str
    """Its name."""
    left: str | None
    """Its version or value in the left run."""
    right: str | None
    """Its version or value in the right run."""


class EnvironmentChanges(Fields):
    """The environment of both runs."""

    recorded: bool
    """True when both runs kept their environment."""
    changes: list[SettingChange]
    """The differences."""


class HardwareChange(Fields):
    """The hardware of both runs."""

    left: str | None
    """That of the left run."""
    right: str | None
    """That of the right run."""
    same: bool | None
    """True when they are the same; null when one is not known."""


class Effect(Fields):
    """A metric in both runs."""

    name: str
    """The metric."""
    left: float | None
    """Its value in the left run."""
    right: float | None
    """Its value in the right run."""
    difference: float | None
    """Right minus left."""
    ratio: float | None
    """Right divided by left."""
    better: Side | None
    """The run that did better; null when they are equal or when that is not known."""
    unit: Literal["s", "USD"] | None
    """The unit; null for a plain number."""


class Comparison(Fields):
    """Two runs of one phase: the differences in how they were made, and the effect on the result."""

    left: Run
    """The left run."""
    right: Run
    """The right run."""
    parameters: list[ParameterChange]
    """The parameters, those that differ first."""
    code: CodeChanges
    """The code."""
    inputs: list[InputChange]
    """The inputs."""
    environment: EnvironmentChanges
    """The environment."""
    hardware: HardwareChange
    """The hardware."""
    effects: list[Effect]
    """Quality, duration, cost, then every other metric by name."""
    sentence: str = ""
    """The comparison in one sentence."""
