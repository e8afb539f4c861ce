"""How a phase ended, for whoever started it."""

from dataclasses import dataclass

from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Outcome:
    """How a phase ended: the run recorded for it, and the run whose outputs count from now on."""

    verdict: Verdict
    run_id: str
    source: PhaseRun
    accepted_run_ids: frozenset[str] = frozenset()
