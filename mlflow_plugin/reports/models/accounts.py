"""Money and time. Seconds and US dollars."""

from mlflow_plugin.reports.models.fields import Fields, Moment


class Sums(Fields):
    """Time and money of several runs."""

    runs: int
    """The number of runs that computed."""
    reuses: int
    """The number of runs that reused another."""
    spent_seconds: float
    """The time that was computed."""
    spent_usd: float
    """The cost of it."""
    saved_seconds: float
    """The time that reuse saved."""
    saved_usd: float
    """The cost that reuse saved."""
    superseded_seconds: float
    """The time of runs that are superseded by now."""
    superseded_usd: float
    """The cost of them."""


class Estimate(Fields):
    """The estimate for a run beside its actual time and cost."""

    run_id: str
    """The run."""
    at: Moment | None
    """The time of its start."""
    estimated_seconds: float | None
    """The time that was expected."""
    actual_seconds: float | None
    """The time that it took."""
    estimated_usd: float | None
    """The cost that was expected."""
    actual_usd: float | None
    """The cost that it came to."""


class PhaseSums(Sums):
    """Time and money of a phase."""

    phase: str
    """The phase."""
    estimates: list[Estimate]
    """The estimates for its newest runs."""


class PipelineSums(Sums):
    """Time and money of a pipeline's phases."""

    pipeline: str
    """The entry point."""


class HardwareSums(Fields):
    """Time and money on one kind of hardware."""

    hardware: str
    """The hardware."""
    runs: int
    """The number of runs."""
    seconds: float
    """The time."""
    usd: float
    """The cost."""


class Bottleneck(Fields):
    """The phase that takes longest."""

    phase: str
    """The phase."""
    seconds: float
    """The median time of its newest runs."""
    share: float
    """The share of the time of all phases, from 0 to 1."""
    sentence: str
    """The same in words."""


class BaselineColumn(Fields):
    """One model in the baseline table."""

    label: str
    """The title of the column."""
    parameters: dict[str, str]
    """The parameters that name the model."""


class BaselineCell(Fields):
    """The run of a phase with a model."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of the id."""
    started_at: Moment | None
    """The time of its start."""
    completed_at: Moment | None
    """The time at which it completed."""
    duration_seconds: float | None
    """The time that it took."""
    cost_usd: float | None
    """The cost of it."""
    hardware: str | None
    """The hardware that it ran on."""
    quality: float | None
    """The value of the phase's quality metric."""
    metrics: dict[str, float | None]
    """The metrics of quality and gates."""


class BaselineRow(Fields):
    """The runs of a phase, one for each model."""

    phase: str
    """The phase."""
    cells: list[BaselineCell | None]
    """One run for each column; null where the phase has no good run with that model."""


class BaselineTotal(Fields):
    """The sum of a column."""

    phases: int
    """The number of phases that have a run."""
    duration_seconds: float
    """Their time."""
    cost_usd: float
    """Their cost."""


class Baseline(Fields):
    """The newest good run of each phase for each model, side by side."""

    columns: list[BaselineColumn]
    """The models, the one of the newest run first."""
    rows: list[BaselineRow]
    """The phases."""
    totals: list[BaselineTotal]
    """The sum of each column."""
    sentence: str
    """The same in words."""


class Accounts(Fields):
    """Time and money that a project's runs took, cost and saved."""

    phases: list[PhaseSums]
    """The sums by phase."""
    pipelines: list[PipelineSums]
    """The sums by pipeline."""
    total: Sums
    """The sum of all phases."""
    hardware: list[HardwareSums]
    """The sums by hardware, the most expensive first."""
    bottleneck: Bottleneck | None
    """The phase that takes longest; null when no run was timed."""
    baseline: Baseline
    """The table across models."""
    counted_runs: int
    """The number of runs that were read."""
    truncated: bool
    """True when there are older runs that were not read."""
