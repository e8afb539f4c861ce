"""The state of a phase in a few values, for `mlflow-phases status --json`."""

from mlflow_plugin.project.vocabulary import State
from mlflow_plugin.reports.models.fields import Fields, Moment


class PhaseStatus(Fields):
    """The state of a phase in a few values. Seconds, US dollars."""

    phase: str
    """Its name."""
    state: State
    """Its state."""
    run_id: str | None
    """Its newest run that counts; without one, the newest."""
    completed_at: Moment | None
    """The time at which that run completed."""
    quality: float | None
    """The value of the phase's quality metric."""
    matches_upstream: bool | None
    """True when the run matches the phases before it; null when that is not known."""
    duration_seconds: float | None
    """The time that the run took."""
    cost_usd: float | None
    """The cost of it."""
    remarks: list[str]
    """The reasons for the state, in sentences."""
    steps: list[str]
    """The steps that the run started by `mlflow.run`, each with the runs that count for it."""
