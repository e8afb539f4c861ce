"""Superseded, quarantined, interrupted and deleted runs."""

from mlflow_plugin.reports.models.fields import Fields, Moment
from mlflow_plugin.reports.models.run import Run


class SupersededBy(Fields):
    """A run that no longer counts, and the run that superseded it."""

    run: Run
    """The run."""
    by: Run | None
    """The run that superseded it or the run that it was made from; null when that one was deleted."""
    when: Moment | None
    """The time at which that one completed."""
    who: str | None
    """The person that decided it."""
    why: str
    """The reason in words."""


class QuarantinedRun(Fields):
    """A run that must not be used, and the runs that depend on it."""

    run: Run
    """The run."""
    when: Moment | None
    """The time of the quarantine."""
    who: str | None
    """The person that set it."""
    why: str | None
    """The reason that was given."""
    depends_on_it: list[Run]
    """The runs that were made from it."""


class ResumableRun(Fields):
    """An interrupted run with a checkpoint."""

    run: Run
    """The run."""
    checkpoint: str
    """The checkpoint to resume from."""
    step: float | None
    """The last step that was finished."""
    total: float | None
    """The number of steps."""
    command: str
    """The command that resumes it."""
    sentence: str
    """The same in words."""


class Recoverable(Fields):
    """Runs that no longer count, that must not be used, or whose work can be resumed; newest first."""

    superseded: list[SupersededBy]
    """The runs that a later run superseded."""
    quarantined: list[QuarantinedRun]
    """The runs under quarantine."""
    resumable: list[ResumableRun]
    """The interrupted runs that can be resumed."""
    deleted: list[Run]
    """The runs that were deleted in MLflow and can be restored there."""
