"""Fakes for the tests of a project: a tracking store, a clock, a preemption, and phases in this process.

    with temporary_store() as store:
        with preempted_after(3):
            killed = run_phase("my_project", "train", steps=10)
        resumed = run_phase("my_project", "train", steps=10)

The store is a real one: a new sqlite file and a folder of artifacts, in a temporary folder. It is not kept in memory,
because MLflow's searches, tags and artifacts would all have to be written a second time. An empty database is made once
and copied from then on, so that a store costs milliseconds.

Nothing here needs a test framework.
"""

from mlflow_plugin.testing.clock import FakeClock
from mlflow_plugin.testing.scripts import PhaseResult, preempted_after, run_phase
from mlflow_plugin.testing.simulated import SimulatedProject
from mlflow_plugin.testing.store import TemporaryStore, temporary_store

__all__ = [
    "FakeClock",
    "PhaseResult",
    "SimulatedProject",
    "TemporaryStore",
    "preempted_after",
    "run_phase",
    "temporary_store",
]
