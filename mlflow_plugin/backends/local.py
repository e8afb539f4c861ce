"""Carrying out one phase on this machine: settle it, and if there is something to compute, start its command and see
it through.
"""

import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from mlflow.entities import RunStatus
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.submitted_run import LocalSubmittedRun, SubmittedRun
from mlflow.projects.utils import (
    MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG,
    PROJECT_ENV_MANAGER,
    PROJECT_SYNCHRONOUS,
    load_project,
)
from mlflow.tracking import get_tracking_uri, set_tracking_uri

from mlflow_plugin.backends.environments import choose_env_manager, facts_of_environment
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.handover import DECIDED, INTERPRETER, LONG_VALUES, input_variables
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import Attempt, settle_request
from mlflow_plugin.format import short
from mlflow_plugin.machine.ranks import LAUNCHER_VARIABLES
from mlflow_plugin.machine.signals import Terminated
from mlflow_plugin.project.parameters import is_truncated, local_path
from mlflow_plugin.reports.experiment_log import kept_log
from mlflow_plugin.store.history import phase_run

_logger = logging.getLogger(__name__)

_ORDERLY_END_SECONDS = 600.0
"""A phase that was told to end may still have a large checkpoint to upload; whoever cannot wait sends SIGKILL."""
_TIMEOUT_END_SECONDS = 60.0
_CTRL_C_SECONDS = 0.5
_LEFT_BEHIND_SECONDS = 10.0
_ENVIRONMENT_SECONDS = 10.0
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "busybox"}


@dataclass(frozen=True)
class Execution:
    """Settings for starting processes, as `mlflow run` hands them to a backend."""

    backend_config: Mapping[str, Any] = field(default_factory=dict)
    backend_name: str = "phases"
    parent_run_id: str = ""
    accepted_run_ids: frozenset[str] = frozenset()


class FinishedRun(SubmittedRun):
    """A run that was recorded and ended before it is handed to MLflow; nothing is left to wait for."""

    def __init__(self, run_id: str, status: int = RunStatus.FINISHED) -> None:
        self._run_id, self._status = run_id, status

    @property
    def run_id(self) -> str:
        return self._run_id

    def wait(self) -> bool:
        return bool(self._status == RunStatus.FINISHED)

    def get_status(self) -> str:
        return str(RunStatus.to_string(self._status))

    def cancel(self) -> None:
        """There is nothing to cancel."""


def carry_out(request: Request, execution: Execution) -> Outcome:
    """Decides and, where needed, computes one phase. Raises PhaseError when it fails or when a question stays open."""
    with kept_log(request.project, request.client, request.experiment_id, request.phase.name):
        return _carry_out(request, execution)


def _carry_out(request: Request, execution: Execution) -> Outcome:
    records = Records(request.client)
    attempt = settle_request(
        request,
        records,
        lambda: records.create(request, execution.parent_run_id, execution.backend_name),
        execution.accepted_run_ids,
    )
    if attempt.source is not None:
        return Outcome(attempt.decision.verdict, attempt.run_id, attempt.source)
    _compute(records, attempt, execution)
    run = phase_run(request.client.get_run(attempt.run_id))
    superseded = frozenset(one.run_id for one in attempt.decision.verdict.invalidates)
    return Outcome(attempt.decision.verdict, attempt.run_id, run, superseded)


def _compute(records: Records, attempt: Attempt, execution: Execution) -> None:
    run_id, phase = attempt.run_id, attempt.decision.request.phase
    began = time.monotonic()
    with Heartbeat(records, run_id, at_once=False) as heartbeat:
        try:
            exit_code = _run_command(attempt, execution, heartbeat)
            run = phase_run(records.client.get_run(run_id))
            if exit_code is None:
                message = f"{phase.name}: stopped after timeout_minutes = {phase.timeout_minutes:g}"
                records.fail(run_id, message, status="KILLED")
                raise PhaseError(f"{message}; what it logged is kept in run {run_id}.")
            if exit_code != 0:
                raise PhaseError(
                    f"{phase.name}: its command {_ending(exit_code)}; what it logged is kept in run {run_id}. "
                    "Mend the cause and run it again."
                )
            if not run.complete:
                # A script that knows nothing of the plugin: all that it logged are its outputs.
                complete_work(records, run_id, attempt.work(), time.monotonic() - began)
        except (KeyboardInterrupt, Terminated) as error:
            # The process may have said more exactly how it ended, and what it saved.
            reason = str(error) or "interrupted from the keyboard"
            records.end_unfinished(phase_run(records.client.get_run(run_id)), f"{phase.name}: {reason}", "KILLED")
            raise
        except PhaseError as error:
            # The process may have said more exactly what was wrong.
            records.end_unfinished(phase_run(records.client.get_run(run_id)), str(error))
            raise
        except Exception as error:
            # A full disk or a store of any make: whatever it is, the run must not look alive.
            message = f"{phase.name}: its result could not be recorded: {type(error).__name__}: {error}"
            records.fail(run_id, message)
            raise PhaseError(f"{message}. What it logged is kept in run {run_id}.") from error


def _ending(exit_code: int) -> str:
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        return f"was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"ended with exit code {exit_code}"


def _run_command(attempt: Attempt, execution: Execution, heartbeat: Heartbeat) -> int | None:
    """The exit code of the phase's command, None when its time ran out. Whatever ends this ends the command."""
    phase = attempt.decision.request.phase
    try:
        process, manager = _start(attempt, execution)
    except Exception as error:
        raise PhaseError(f"{phase.name}: its process could not be started: {error}") from error
    heartbeat.pid = process.command_proc.pid
    command = str(process.command_proc.args[-1])
    arguments = (heartbeat.records, attempt.run_id, manager, command)
    keeping = threading.Thread(target=_keep_environment, args=arguments, name="environment", daemon=True)
    keeping.start()
    try:
        exit_code = _wait(process, phase.timeout_minutes)
        keeping.join(_ENVIRONMENT_SECONDS)
        return exit_code
    except (KeyboardInterrupt, Terminated) as error:
        _logger.info(f"{phase.name}: {str(error) or 'interrupted'}; waiting for its process to end in order")
        _stop(process.command_proc.pid, _ORDERLY_END_SECONDS, getattr(error, "number", signal.SIGTERM))
        raise
    except BaseException:
        _stop(process.command_proc.pid)
        raise


def _keep_environment(records: Records, run_id: str, manager: str, command: str) -> None:
    """Keeps with a run what its environment consists of, while its command computes; not knowing that harms nobody."""
    try:
        records.environment(run_id, facts_of_environment(manager, command))
    except PhaseError as error:
        _logger.warning(f"run {short(run_id)}: its environment is not recorded: {error}")


def _start(attempt: Attempt, execution: Execution) -> tuple[LocalSubmittedRun, str]:
    """The process that computes, and the manager of the environment that it does so in."""
    request = attempt.decision.request
    directory = str(request.project.directory)
    manager = choose_env_manager(load_project(directory), execution.backend_config.get(PROJECT_ENV_MANAGER))
    config = {
        **_NO_DOCKER,
        **execution.backend_config,
        PROJECT_ENV_MANAGER: manager,
        PROJECT_SYNCHRONOUS: True,
        MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG: attempt.run_id,
    }
    with environment({**_variables(attempt), **(_this_environment() if manager == "local" else {})}):
        started: LocalSubmittedRun = LocalBackend().run(
            directory,
            request.phase.name,
            _parameters(attempt),
            None,
            config,
            get_tracking_uri(),
            request.experiment_id,
        )
    return started, manager


_NO_DOCKER = {"DOCKER_ARGS": None, "STORAGE_DIR": None, "build_image": False, "docker_auth": None}


def _parameters(attempt: Attempt) -> dict[str, object]:
    """What the command is rendered with: a pin that the entry point declares holds the resolved run id."""
    request = attempt.decision.request
    declared = request.phase.parameters
    resolved = {f"{need}_run_id": run.run_id for need, run in attempt.decision.inputs.items()}
    given = {name: value for name, value in request.given.items() if name in declared}
    for name, parameter in declared.items():
        if parameter.type != "path":
            continue
        # The command runs in the project's folder; a path was typed in the caller's, a default means the project's.
        folder = request.base if name in given else request.project.directory
        if found := local_path(str(given.get(name, parameter.default or "")), folder, request.argv):
            given[name] = str(found)
    return {**given, **{name: run_id for name, run_id in resolved.items() if name in declared}}


def _variables(attempt: Attempt) -> dict[str, str | None]:
    given = attempt.decision.request.given
    return {
        **input_variables(attempt.decision.inputs),
        DECIDED: attempt.run_id,
        LONG_VALUES: json.dumps({name: str(value) for name, value in given.items() if is_truncated(value)}),
        "PYTHONUNBUFFERED": "1",
        # Beside the experiment id that MLflow hands down, a name is an error.
        "MLFLOW_EXPERIMENT_NAME": None,
        # Whoever started this process in several did not start the phase so.
        **dict.fromkeys(LAUNCHER_VARIABLES),
    }


def _this_environment() -> dict[str, str | None]:
    """Lets `python` mean the one that was found to satisfy the project, also where its folder is not on the path."""
    here = os.path.dirname(sys.executable)
    others = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder != here]
    return {"PATH": os.pathsep.join([here, *others]), INTERPRETER: sys.prefix}


@contextmanager
def environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Sets variables for the processes and requests started inside the block; MLflow reads them from here."""
    before = {name: os.environ.get(name) for name in variables}
    _assign(variables)
    try:
        yield
    finally:
        _assign(before)


def _assign(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _wait(process: LocalSubmittedRun, timeout_minutes: float | None) -> int | None:
    """The exit code, or None when the time ran out and the process and its children were stopped."""
    child = process.command_proc
    deadline = time.monotonic() + timeout_minutes * 60 if timeout_minutes else None
    while True:
        exit_code: int | None = child.poll()
        if exit_code is not None:
            return exit_code
        if deadline and time.monotonic() > deadline:
            _stop(child.pid, _TIMEOUT_END_SECONDS)
            child.wait()
            return None
        time.sleep(0.02 if deadline is None or deadline - time.monotonic() < 1 else 0.1)


def _stop(pid: int, patience_seconds: float = 10.0, number: signal.Signals = signal.SIGTERM) -> None:
    """Asks a process to end, then all that it started, and kills what has not by then; at once on a second Ctrl-C."""
    try:
        family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
        foremost = _foremost(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return
    try:
        # Ctrl-C has reached them as well, and is told from other signals when it comes first.
        psutil.wait_procs(family, timeout=_CTRL_C_SECONDS)
        # A phase needs those that load its data to end its step, and ends them itself.
        _signal(foremost, number)
        psutil.wait_procs(foremost, timeout=patience_seconds)
        _signal(family, signal.SIGTERM)
        psutil.wait_procs(family, timeout=min(patience_seconds, _LEFT_BEHIND_SECONDS))
    finally:
        _signal(family, signal.SIGKILL)


def _foremost(process: psutil.Process) -> list[psutil.Process]:
    """A process, and what it started if it is a shell, which hands no signal on."""
    try:
        started = process.children() if process.name() in _SHELLS else []
    except psutil.Error:
        started = []
    return [*(one for child in started for one in _foremost(child)), process]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def absolute_tracking_uri() -> None:
    """A relative sqlite store means another file in another folder: name it by its full path for all child
    processes.
    """
    uri, prefix = get_tracking_uri(), "sqlite:///"
    path = uri.removeprefix(prefix)
    if path not in (uri, "") and not path.startswith("/"):
        set_tracking_uri(prefix + os.path.abspath(path))
