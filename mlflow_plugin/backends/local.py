"""Run the command of a phase on this machine, in the environment that the project asks for."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

from mlflow.projects.utils import PROJECT_ENV_MANAGER, load_project

from mlflow_plugin.backends.command import StartedCommand, start_command
from mlflow_plugin.backends.environments import choose_env_manager, facts_of_environment
from mlflow_plugin.backends.execution import ExecutionSettings
from mlflow_plugin.backends.output import Output
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.handover import DECIDED, INTERPRETER, LONG_VALUES, own_input_variables
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import Resolution
from mlflow_plugin.execution.steps import caller_variable
from mlflow_plugin.format import short
from mlflow_plugin.machine.hardware import VISIBLE_GPUS
from mlflow_plugin.machine.pausing import pause
from mlflow_plugin.machine.process_tree import stop_process_tree
from mlflow_plugin.machine.ranks import LAUNCHER_VARIABLES
from mlflow_plugin.machine.signals import Terminated
from mlflow_plugin.project.parameters import is_truncated, local_path
from mlflow_plugin.project.recipe import lies_in_project
from mlflow_plugin.store.input_artifacts import artifact_paths

_logger = logging.getLogger(__name__)

_ORDERLY_END_SECONDS = 600.0
"""A phase that was told to end may still have a large checkpoint to upload; SIGKILL ends it at once."""
_TIMEOUT_END_SECONDS = 60.0
_ENVIRONMENT_SECONDS = 10.0


def launch_locally(
    resolution: Resolution, settings: ExecutionSettings, heartbeat: Heartbeat, observer: Observer
) -> int | None:
    """Run the phase's command and return its exit code; None when it was stopped after `timeout_minutes`.

    An exception in this process, a signal for example, ends the command too.

    Raises:
        PhaseError: The process could not be started.
    """
    phase = resolution.decision.request.phase
    with ExitStack() as ending:
        output = None
        if settings.side_by_side:
            output = Output(phase.full_name)
            ending.callback(output.keep, heartbeat.records.client, resolution.run_id)
        try:
            started, manager = _start(resolution, settings, observer, output)
        except Exception as error:
            raise PhaseError(f"{phase.name}: its process could not be started: {error}") from error
        return _waited_for(started, manager, resolution, heartbeat)


def _waited_for(started: StartedCommand, manager: str, resolution: Resolution, heartbeat: Heartbeat) -> int | None:
    """Return the exit code of a command; None when it was stopped after `timeout_minutes`."""
    phase = resolution.decision.request.phase
    process = started.process
    heartbeat.pid = process.pid
    arguments = (heartbeat.records, resolution.run_id, manager, started.text)
    keeping = threading.Thread(target=_keep_environment, args=arguments, name="environment", daemon=True)
    keeping.start()
    try:
        exit_code = _wait(process, phase.timeout_minutes)
        keeping.join(_ENVIRONMENT_SECONDS)
        return exit_code
    except (KeyboardInterrupt, Terminated) as error:
        _logger.info(f"{phase.name}: {str(error) or 'interrupted'}; waiting for its process to end cleanly")
        stop_process_tree(process.pid, _ORDERLY_END_SECONDS, getattr(error, "number", signal.SIGTERM))
        raise
    except BaseException:
        stop_process_tree(process.pid)
        raise


def _keep_environment(records: Records, run_id: str, manager: str, command: str) -> None:
    """Record the environment of a run while its command computes. A failure is logged: the work can do without."""
    try:
        records.environment(run_id, facts_of_environment(manager, command))
    except PhaseError as error:
        _logger.warning(f"run {short(run_id)}: its environment is not recorded: {error}")


def _start(
    resolution: Resolution, settings: ExecutionSettings, observer: Observer, output: Output | None
) -> tuple[StartedCommand, str]:
    """Start the command and return it with the name of its environment manager."""
    request = resolution.decision.request
    directory = str(request.project.directory)
    manager = choose_env_manager(load_project(directory), settings.backend_config.get(PROJECT_ENV_MANAGER))
    started = start_command(
        directory,
        request.phase.name,
        _parameters(resolution),
        run_id=resolution.run_id,
        experiment_id=request.experiment_id,
        manager=manager,
        config=settings.backend_config,
        observer=observer,
        variables={**_variables(resolution, settings), **(_this_environment() if manager == "local" else {})},
        output=output.file if output else None,
    )
    return started, manager


def _parameters(resolution: Resolution) -> dict[str, object]:
    """Return the parameters of the command; a declared pin (`<need>_run_id`) holds the resolved run id."""
    request = resolution.decision.request
    declared = request.phase.parameters
    inputs = resolution.decision.inputs
    resolved = {f"{need}_run_id": run.run_id for need, run in inputs.items()}
    resolved |= {f"{need}_run_ids": ",".join(run.members) for need, run in inputs.items() if run.members}
    given = {name: value for name, value in request.given.items() if name in declared}
    for name, parameter in declared.items():
        if parameter.type != "path" or name in request.phase.inputs:
            continue
        # The command runs in the project's folder; a path was typed in the caller's, a default means the project's.
        in_project = name not in given or lies_in_project(request.project, request.phase, name)
        folder = request.project.directory if in_project else request.base
        if found := local_path(str(given.get(name, parameter.default or "")), folder, request.argv):
            given[name] = str(found)
    artifacts = artifact_paths(request.client, request.phase, resolution.decision.inputs)
    return {**given, **{name: run_id for name, run_id in resolved.items() if name in declared}, **artifacts}


def _variables(resolution: Resolution, settings: ExecutionSettings) -> dict[str, str | None]:
    request = resolution.decision.request
    # On the run stands what an input was resolved to. The command that a message prints has it as it was typed.
    as_given = {name: str(value) for name, value in request.given.items() if is_truncated(value)} | request.chosen()
    return {
        **own_input_variables(resolution.decision.inputs),
        DECIDED: resolution.run_id,
        LONG_VALUES: json.dumps(as_given),
        **caller_variable(
            resolution.run_id, str(settings.backend_config.get(PROJECT_ENV_MANAGER) or ""), request.decide
        ),
        "PYTHONUNBUFFERED": "1",
        # Beside the experiment id that MLflow hands down, a name is an error.
        "MLFLOW_EXPERIMENT_NAME": None,
        # A launcher that started this process several times did not start the phase so.
        **dict.fromkeys(LAUNCHER_VARIABLES),
        **({} if settings.gpus is None else {VISIBLE_GPUS: ",".join(settings.gpus)}),
    }


def _this_environment() -> dict[str, str | None]:
    """Let `python` mean the interpreter that satisfies the project, also where its folder is not on the PATH."""
    here = os.path.dirname(sys.executable)
    others = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != here]
    return {"PATH": os.pathsep.join([here, *others]), INTERPRETER: sys.prefix}


def _wait(child: "subprocess.Popen[bytes]", timeout_minutes: float | None) -> int | None:
    """Return the exit code; None when the time ran out and the process and its children were stopped."""
    deadline = time.monotonic() + timeout_minutes * 60 if timeout_minutes else None
    while True:
        exit_code: int | None = child.poll()
        if exit_code is not None:
            return exit_code
        if deadline and time.monotonic() > deadline:
            stop_process_tree(child.pid, _TIMEOUT_END_SECONDS)
            child.wait()
            return None
        pause(0.02 if deadline is None or deadline - time.monotonic() < 1 else 0.1)
