"""Answers of the page's routes that are no view of a project, and the data inside a report."""

from mlflow_plugin.reports.models.accounts import Accounts
from mlflow_plugin.reports.models.fields import Fields, Moment
from mlflow_plugin.reports.models.live import LiveView
from mlflow_plugin.reports.models.pipeline import PipelineState
from mlflow_plugin.reports.models.question import Question
from mlflow_plugin.reports.models.recoverable import Recoverable
from mlflow_plugin.reports.models.run import PhaseRuns


class ExperimentWithPhases(Fields):
    """An experiment in which phases were started."""

    experiment_id: str
    """Its id."""
    name: str
    """Its name."""
    projects: list[str]
    """Its projects."""


class Experiments(Fields):
    """The experiments that the page can show."""

    experiments: list[ExperimentWithPhases]
    """The experiments."""


class RunPlace(Fields):
    """The place of a run on the page."""

    experiment_id: str
    """Its experiment."""
    project: str
    """Its project."""
    phase: str | None
    """Its phase; null for a run of no phase, such as the run of a pipeline."""


class Viewer(Fields):
    """The person that asks, and the projects to choose from: sent together with the state of a pipeline."""

    projects: list[str]
    """All projects of the experiment."""
    may_answer: bool
    """True when this person may answer questions."""
    user: str | None
    """The name of the account; null on a server without users."""


class Report(Fields):
    """The data inside an HTML report: the answers that the page's routes would give."""

    experiment_id: str
    """The experiment."""
    project: str
    """The project."""
    at: Moment
    """The time at which it was read."""
    pipeline: PipelineState
    """The state of the pipeline."""
    runs: dict[str, PhaseRuns]
    """The runs of each phase."""
    accounts: Accounts
    """Money and time."""
    recoverable: Recoverable
    """Runs that are superseded, quarantined, resumable or deleted."""
    questions: list[Question]
    """The open questions."""
    live: LiveView | None = None
    """Null: a report does not change."""
