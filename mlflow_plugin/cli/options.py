"""Options and arguments that several commands share: the project, the experiment, parameters, a run."""

import os
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from mlflow_plugin.errors import UsageError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.store.history import History
    from mlflow_plugin.store.run import PhaseRun


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose the project and the experiment to a command."""

    @click.option("--project", default=".", show_default=True, help="Folder that holds the MLproject file.")
    @click.option("--experiment-name", help="The experiment of the runs.  [default: the one that MLflow would use]")
    @click.option("--experiment-id", help="The experiment of the runs, by its id.")
    @wraps(command)
    def wrapped(experiment_name: str | None, experiment_id: str | None, **options: Any) -> Any:
        if experiment_name and experiment_id:
            raise UsageError("give --experiment-name or --experiment-id, not both.")
        if experiment_name:
            os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment_name
        if experiment_id:
            os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
            os.environ["MLFLOW_EXPERIMENT_ID"] = experiment_id
        return command(**options)

    return wrapped


def history_of(project: str) -> "History":
    """Return the runs of the project in a folder, in the chosen experiment.

    Raises:
        UsageError: The MLproject file is missing or malformed.
    """
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.decision.lookup import current_experiment
    from mlflow_plugin.project.mlproject import load_project
    from mlflow_plugin.store.history import History

    declared, client = load_project(project), MlflowClient()
    return History(client, current_experiment(client), declared)


def parameters_of(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the parameters of `-P NAME=VALUE` options.

    Raises:
        UsageError: A pair has no name or no `=`, or a name is given twice.
    """
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"-P {pair}: write -P NAME=VALUE.")
        if name in parameters:
            raise UsageError(f"-P {name} was given twice.")
        parameters[name] = value
    return parameters


def find_run(client: "MlflowClient", run_id: str) -> "PhaseRun":
    """Return the phase run of that id.

    Raises:
        UsageError: The store has no such run, or it is not the run of a phase.
    """
    from mlflow.exceptions import MlflowException

    from mlflow_plugin.store.history import phase_run

    try:
        run = phase_run(client.get_run(run_id))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UsageError(f"{run_id}: there is no such run in this tracking store. Give the whole run id.") from None
        raise
    if not run.phase:
        raise UsageError(f"{run_id}: this is not the run of a phase.")
    return run
