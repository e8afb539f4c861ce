from datetime import UTC, datetime

import pytest

from mlflow_plugin.decision.facts import superseded_run
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun

PHASE = Phase("main", "python main.py", {})


@pytest.mark.parametrize(
    ("steps", "seconds", "usd"),
    [({}, 100.0, 2.0), ({"phase.steps_seconds": 75.0}, 25.0, 0.5), ({"phase.steps_seconds": 130.0}, 0.0, 0.0)],
)
def test_the_price_of_a_superseded_run_leaves_out_the_steps_that_it_started(steps, seconds, usd):
    metrics = {"phase.duration_seconds": 100.0, "phase.cost_usd": 2.0, **steps}
    run = PhaseRun("a" * 32, "main", completed_at=datetime.now(UTC), metrics=metrics)
    superseded = superseded_run(PHASE, run)
    assert (superseded.duration_seconds, superseded.cost_usd) == (pytest.approx(seconds), pytest.approx(usd))
    assert superseded_run(PHASE, PhaseRun("b" * 32, "main", metrics=steps)).duration_seconds is None
