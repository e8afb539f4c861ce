"""How a phase ended, for the backend or pipeline that started it."""

from dataclasses import dataclass

from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Outcome:
    """How a phase ended.

    Attributes:
        verdict: The verdict that was executed.
        run_id: The run that was recorded for it.
        result: The run whose outputs count from now on: the recorded one, or the one that it reuses.
        accepted_run_ids: Runs that a person has agreed to supersede.
    """

    verdict: Verdict
    run_id: str
    result: PhaseRun
    accepted_run_ids: frozenset[str] = frozenset()
