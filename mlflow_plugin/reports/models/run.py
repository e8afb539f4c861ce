"""One run of a phase, with its quality and gates."""

from mlflow_plugin.project.vocabulary import Action, Grade
from mlflow_plugin.reports.models.fields import Fields, Moment


class Quality(Fields):
    """The quality of a phase's result against its two thresholds."""

    metric: str
    """The metric that measures it."""
    value: float | None
    """The value that the run logged; null when it logged none."""
    grade: Grade | None
    """The value against the thresholds, gates left aside; null before there is a result."""
    good: float
    """A result is good from this value on; up to it, where lower is better."""
    poor: float
    """A result is poor below this value; above it, where lower is better."""
    higher_is_better: bool
    """True when a higher value is better."""


class Gate(Fields):
    """A further condition on logged metrics."""

    text: str
    """The condition."""
    passed: bool | None
    """True when it holds; null before there is a result."""


class Findings(Fields):
    """The result of comparing what an earlier run read, at the time of the verdict."""

    changed: list[str]
    """What that run read and is not as it was."""
    unclear: list[str]
    """What could not be compared, so that the verdict asked."""
    mentions: list[str]
    """Further remarks, such as a database that was read and is not compared."""
    compared: int
    """The number of files that were compared."""
    at: Moment | None
    """The time of the verdict."""


class Run(Fields):
    """One run of a phase. Seconds, US dollars."""

    run_id: str
    """Its id in MLflow."""
    short: str
    """The first eight characters of the id."""
    phase: str
    """Its phase."""
    status: str
    """MLflow's own status. FINISHED alone does not mean complete: `completed_at` does."""
    verdict: Action | None
    """The action that was decided."""
    reason: str | None
    """The reason of the verdict, or the error that ended the run."""
    started_at: Moment | None
    """The time of its start."""
    completed_at: Moment | None
    """The time at which its result was committed; null for a run without one."""
    duration_seconds: float | None
    """Wall time of the work; null for a reuse."""
    cost_usd: float | None
    """That time at the price of the hardware."""
    quality: float | None
    """The value of the phase's quality metric."""
    grade: Grade | None
    """Its grade: `gate` is a good value with a gate that fails. Null for a run without a result."""
    gate_failures: list[str]
    """The gates that fail, each with its numbers."""
    metrics: dict[str, float | None]
    """The metrics of quality and gates."""
    hardware: str | None
    """The hardware that it ran on."""
    user: str | None
    """The user that started it."""
    findings: Findings | None
    """What its verdict found out about the files that an earlier run had read; null when none were compared."""
    inputs: dict[str, str]
    """For each phase that it needs, the id of the run that it was made from."""
    reused_run_id: str | None
    """The run whose outputs count instead."""
    resumed_from: str | None
    """The interrupted run that it resumed."""
    successor: str | None
    """The run that took its work over."""
    invalidated_by: str | None
    """The run that superseded it."""
    quarantined: str | None
    """The reason why it must not be used."""
    checkpoint: str | None
    """Its newest checkpoint."""
    estimated_seconds: float | None
    """The time that was expected when it was started."""
    estimated_usd: float | None
    """The cost that was expected then."""
    saved_seconds: float | None
    """Of a reuse: the time that the reused run took."""
    saved_usd: float | None
    """Of a reuse: the cost of the reused run."""
    answer: str | None
    """The letter of the option that was chosen when it asked."""
    answered_by: str | None
    """The person that chose it."""
    answered_at: Moment | None
    """The time of the answer."""
    parameters: dict[str, str]
    """Its parameters as text."""


class PhaseRuns(Fields):
    """The runs of a phase over time."""

    phase: str
    """The phase."""
    quality: Quality | None
    """Its thresholds; null for a phase without quality."""
    gates: list[Gate]
    """Its gates."""
    runs: list[Run]
    """Its runs, newest first."""
    truncated: bool
    """True when there are older runs."""


class SupersededRun(Fields):
    """A finished run that no longer counts once its phase, or one before it, is run again. It stays in the store."""

    phase: str
    """Its phase."""
    run_id: str
    """The run."""
    quality: float | None
    """The value of its quality metric."""
    metric: str
    """The name of that metric; empty for a phase without quality."""
    finished_at: Moment | None
    """The time at which it completed."""
    duration_seconds: float | None
    """The time that it took."""
    cost_usd: float | None
    """The cost of it."""
    sentence: str
    """All of this in words."""
