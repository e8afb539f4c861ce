"""Open questions and their options."""

from mlflow_plugin.project.vocabulary import Kind
from mlflow_plugin.reports.models.fields import Fields
from mlflow_plugin.reports.models.run import SupersededRun


class Option(Fields):
    """One answer to a question."""

    letter: str
    """The letter to answer with."""
    decide: str
    """The same for `-P decide=`."""
    title: str
    """The action in a few words."""
    price: str
    """Its time and cost in words."""
    keeps: list[str]
    """The results that still count."""
    supersedes: list[SupersededRun]
    """The runs that no longer count then."""
    not_listed: int
    """The number of such runs beyond those listed."""
    reruns: list[str]
    """The phases that are computed."""
    seconds: float | None
    """The time that this takes."""
    cost_usd: float | None
    """The cost of it."""
    command: str
    """The command that starts the phase with this answer when its process has ended."""


class Question(Fields):
    """A question that is open."""

    run_id: str
    """The run that asks."""
    short: str
    """The first eight characters of the id."""
    phase: str
    """Its phase."""
    experiment_id: str
    """Its experiment."""
    kind: Kind | None
    """The rule that asks; null when this version does not know it."""
    asked_at: str | None
    """The time of the question, exactly as the run has it: an answer names the question by it."""
    waiting: bool
    """True while its process waits for the answer; otherwise the phase has to be started again."""
    user: str | None
    """The user that started it."""
    reasons: list[str]
    """The reasons why it asks."""
    options: list[Option]
    """The possible answers."""
