"""`mlflow run . -e phase2 -b phases`: decide before an environment is built or a process started."""

import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import click
from mlflow import active_run
from mlflow.exceptions import MlflowException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import PROJECT_ENV_MANAGER
from mlflow.tracking import MlflowClient, get_tracking_uri

from mlflow_plugin.backends.container import require_container
from mlflow_plugin.backends.execution import ExecutionSettings, FinishedRun, absolute_tracking_uri, execute_phase
from mlflow_plugin.backends.local import launch_locally
from mlflow_plugin.decision.request import request_for
from mlflow_plugin.errors import PhaseError, UsageError, store_trouble
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.steps import current_step
from mlflow_plugin.machine.signals import orderly_termination
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.mlflow_internals import fetch_project, require_server
from mlflow_plugin.store.schema import SHORT_PATIENCE

_logger = logging.getLogger(__name__)


class PhasesBackend(AbstractBackend):
    """The MLflow project backend `phases`. It returns when the phase is done, since the verdict may need an answer."""

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, object] | None,
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> SubmittedRun:
        """Execute a phase or a pipeline.

        Raises:
            PhaseError: It failed or needs an answer. Under the `mlflow` command the process ends with its exit code.
        """
        attach_terminal_handler()
        try:
            absolute_tracking_uri()
            project = load_project(_work_directory(project_uri, version))
            _require_answer(str(experiment_id))
            with orderly_termination():
                return _run(project, entry_point, dict(params or {}), backend_config, str(experiment_id))
        except PhaseError as error:
            _leave(error)
        except MlflowException as error:
            _leave(store_trouble(error))


def _require_answer(experiment_id: str) -> None:
    """Raise at once when no tracking server is there. Later a phase is more patient with it."""
    if get_tracking_uri().startswith("http"):
        require_server(get_tracking_uri(), experiment_id, SHORT_PATIENCE)


def _work_directory(project_uri: str, version: str | None) -> str:
    local = Path(project_uri.removeprefix("file://"))
    if version is None and local.is_dir():
        return str(local)
    return fetch_project(project_uri, version)


def _run(
    project: Project, entry_point: str, given: dict[str, object], config: Mapping[str, Any], experiment_id: str
) -> SubmittedRun:
    client = MlflowClient()
    step = current_step.get()
    # As with MLflow's own backends. It is the active run of this thread alone.
    active = active_run()
    parent = active.info.run_id if active else step.caller.run_ids[-1] if step else ""
    settings = ExecutionSettings(config, parent_run_id=parent, ready=require_container)
    if step:
        settings = replace(settings, ended=lambda phase, outcome: step.take(phase, outcome.result))
    named = str(config.get(PROJECT_ENV_MANAGER) or "")
    invocation = Invocation(project.directory, entry_point, given, "phases", experiment_id, named)
    if entry_point in project.pipelines:
        from mlflow_plugin.backends.pipeline import run_pipeline

        return FinishedRun(
            run_pipeline(
                project,
                entry_point,
                given,
                client,
                experiment_id,
                settings,
                launch_locally,
                invocation,
                step.run_id if step else "",
            )
        )
    if entry_point in project.other_entry_points:
        raise UsageError(
            f"{project.file}: entry point {entry_point!r} declares neither `phase:` nor `pipeline:`. "
            "Add one, or run it without `-b phases`."
        )
    request = request_for(project, entry_point, given, client, experiment_id, asked_as=invocation)
    if step:
        label = entry_point if entry_point != "main" else project.directory.name
        force = step.caller.decide != "rerun"
        request = replace(request, own_run_id=step.run_id, force_allowed=force, called=request.called or label)
    if request.phase.matrix is not None:
        from mlflow_plugin.backends.pipeline import run_matrix

        if request.own_run_id:
            raise UsageError(
                f"{request.label} has a matrix, so its runs are runs of their own. Leave out the run_id of mlflow.run."
            )
        return FinishedRun(run_matrix(request, settings, launch_locally, invocation))
    if request.own_run_id:
        Records(client).adopt(request, parent, settings.backend_name)
    return FinishedRun(execute_phase(request, settings, launch_locally).run_id)


def _leave(error: PhaseError) -> NoReturn:
    """End with one message and the exit code under a command; raise the error in a Python program."""
    if click.get_current_context(silent=True) is None or current_step.get() is not None:
        raise error
    _logger.error(str(error))
    sys.exit(error.exit_code)
