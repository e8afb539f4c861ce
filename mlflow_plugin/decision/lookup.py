"""The Python lookup: `find_reusable` for one phase, `plan` for everything that an entry point would do. Reads, never
writes.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.evidence import decide_whole
from mlflow_plugin.decision.planning import planned
from mlflow_plugin.decision.request import request_for
from mlflow_plugin.decision.verdict import Plan, Verdict
from mlflow_plugin.errors import store_trouble
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.history import NO_EXPERIMENT


def find_reusable(
    project: str | Path | Project,
    phase: str,
    parameters: Mapping[str, object] | None = None,
    *,
    experiment_id: str | None = None,
    client: MlflowClient | None = None,
) -> Verdict:
    """Return the verdict on one phase with these parameters, as `mlflow run` would reach it now.

    Args:
        project: The folder of an MLflow Project, its MLproject file, or a loaded project.
        phase: The name of the phase.
        parameters: Parameters by name, as on the command line; the others have their defaults.
        experiment_id: The experiment; by default the one that MLflow would use (`MLFLOW_EXPERIMENT_NAME`,
            `MLFLOW_EXPERIMENT_ID`, else experiment 0).
        client: The tracking store; by default that of `MLFLOW_TRACKING_URI`.

    Returns:
        A verdict: `action` is reuse, resume, run, wait or ask, `run_id` the run that it is about.

    Raises:
        UsageError: The project is malformed, the phase unknown or a parameter wrong.
        PhaseError: The store does not answer.
    """
    loaded = project if isinstance(project, Project) else load_project(project)
    store = client or MlflowClient()
    try:
        experiment = experiment_id or current_experiment(store)
        request = request_for(loaded, phase, dict(parameters or {}), store, experiment)
        return replace(decide_whole(request, None), phase=phase)
    except MlflowException as error:
        raise store_trouble(error) from None


def plan(
    project: str | Path | Project,
    entry_point: str = "main",
    parameters: Mapping[str, object] | None = None,
    *,
    experiment_id: str | None = None,
    client: MlflowClient | None = None,
) -> Plan:
    """Return the verdict on each phase of an entry point, with costs and stale runs, without doing anything.

    A phase after one that would be computed cannot be judged yet: its verdict is `run`, and names that phase. Arguments
    and errors are those of `find_reusable`.
    """
    loaded = project if isinstance(project, Project) else load_project(project)
    store = client or MlflowClient()
    try:
        experiment = experiment_id or current_experiment(store)
        return planned(decide_whole, Path.cwd(), loaded, entry_point, dict(parameters or {}), store, experiment)
    except MlflowException as error:
        raise store_trouble(error) from None


def current_experiment(client: MlflowClient) -> str:
    """Return the id of the experiment that MLflow would log to; `NO_EXPERIMENT` when the first run has yet to create
    it.
    """
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        experiment = client.get_experiment_by_name(name)
        return str(experiment.experiment_id) if experiment else NO_EXPERIMENT
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "0")
