"""Execution of one phase: resolve the request and, if there is something to compute, compute it and record how it ends.

Where and how the command runs is a backend's: it hands in a `Launcher`.
"""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from mlflow.entities import RunStatus
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.tracking import get_tracking_uri, set_tracking_uri

from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Option
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import Resolution, resolve_request
from mlflow_plugin.machine.signals import Terminated
from mlflow_plugin.reports.experiment_log import kept_log
from mlflow_plugin.store.run_decoding import phase_run


@dataclass(frozen=True)
class ExecutionSettings:
    """Settings of one execution.

    Attributes:
        backend_config: The configuration that `mlflow run` hands to a backend.
        backend_name: The name of the backend that the run shows.
        parent_run_id: The run below which the run of this execution nests: that of the pipeline, or the one that is
            active in the calling thread; empty for none.
        accepted_run_ids: Runs that a person has agreed to supersede.
        side_by_side: Other phases are computed at the same time, so its output is shown with its name.
        gpus: The GPUs of its own, by the names that CUDA_VISIBLE_DEVICES takes; None leaves them as they are.
        ended: Called with each phase that has ended well, by the name that the project has for it which asks.
        ready: Raises PhaseError where a request cannot be computed here; called before a run is made that would fail.
        resolved: Called when a request is resolved, before it is computed, with the option that was chosen if it asked.
    """

    backend_config: Mapping[str, Any] = field(default_factory=dict)
    backend_name: str = "phases"
    parent_run_id: str = ""
    accepted_run_ids: frozenset[str] = frozenset()
    side_by_side: bool = False
    gpus: tuple[str, ...] | None = None
    ended: Callable[[str, Outcome], None] = lambda phase, outcome: None
    ready: Callable[[Request], None] = lambda request: None
    resolved: Callable[[Option | None], None] = lambda option: None


Launcher = Callable[[Resolution, ExecutionSettings, Heartbeat, Observer], int | None]
"""Runs the command of a resolution, which is a backend's own part. `backends.local.launch_locally` is one.

It starts the command with `observer.variables` and `observer.command`, so that what it reads is recorded,
sets `heartbeat.pid` to the process that computes, hands down the environment variables of `execution.handover`,
records the environment with `Records.environment`, and ends the command when an exception (a signal, Ctrl-C) ends it.
It returns the exit code, or None when it stopped the command after `timeout_minutes`, and raises PhaseError when the
command cannot be started.
"""


class FinishedRun(SubmittedRun):
    """A run that has ended by the time MLflow receives it, so there is nothing to wait for."""

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


def execute_phase(request: Request, settings: ExecutionSettings, launch: Launcher) -> Outcome:
    """Resolve a request and, where needed, compute the phase.

    Raises:
        PhaseError: The phase failed, or a question stays open.
    """
    with kept_log(request.project, request.client, request.experiment_id, request.phase.name):
        records = Records(request.client)
        resolution = resolve_request(
            request,
            records,
            lambda: records.create(request, settings.parent_run_id, settings.backend_name),
            settings.accepted_run_ids,
            settings.ready,
        )
        settings.resolved(resolution.option)
        if resolution.reused is not None:
            outcome = Outcome(resolution.decision.verdict, resolution.run_id, resolution.reused)
            settings.ended(request.shown.name, outcome)
            return outcome
        _compute(records, resolution, settings, launch)
        run = phase_run(request.client.get_run(resolution.run_id))
        superseded = frozenset(one.run_id for one in resolution.decision.verdict.invalidates)
        outcome = Outcome(resolution.decision.verdict, resolution.run_id, run, superseded)
        settings.ended(request.shown.name, outcome)
        return outcome


def _compute(records: Records, resolution: Resolution, settings: ExecutionSettings, launch: Launcher) -> None:
    run_id, phase = resolution.run_id, resolution.decision.request.phase
    name = resolution.decision.request.label
    began = time.monotonic()
    observer = Observer(
        resolution.decision.request,
        phase_run(records.client.get_run(run_id)),
        resolution.decision.inputs,
        resolution.resumed_from(),
    )
    files = ProjectFiles.of(resolution.decision)
    with Heartbeat(records, run_id, at_once=False) as heartbeat, ExitStack() as held:
        try:
            held.enter_context(files.in_place(resolution.decision))
            exit_code = launch(resolution, settings, heartbeat, observer)
            run = phase_run(records.client.get_run(run_id))
            if exit_code is None:
                message = f"{name}: stopped after timeout_minutes = {phase.timeout_minutes:g}"
                records.fail(run_id, message, status="KILLED")
                raise PhaseError(f"{message}; what it logged is kept in run {run_id}.")
            if exit_code == NeedsAnswer.exit_code and observer.open_question():
                command = resolution.decision.request.invocation.command()
                raise NeedsAnswer(
                    f"{name}: a step that it called needs an answer, see above. Answer it, then run {name} "
                    f"again: {command}"
                )
            if exit_code != 0:
                raise PhaseError(
                    f"{name}: {command_failure(exit_code)}; what it logged is kept in run {run_id}. "
                    "Fix the cause and run it again."
                )
            if not run.complete:
                # The script does not hold its phase: everything that it logged is its output.
                observer.keep()
                complete_work(records, run_id, resolution.work(), time.monotonic() - began)
        except (KeyboardInterrupt, Terminated) as error:
            # The process may have recorded in more detail how it ended and what it saved.
            reason = str(error) or "interrupted from the keyboard"
            records.end_unfinished(phase_run(records.client.get_run(run_id)), f"{name}: {reason}", "KILLED")
            raise
        except PhaseError as error:
            # The process may have recorded in more detail what went wrong.
            records.end_unfinished(phase_run(records.client.get_run(run_id)), str(error))
            raise
        except Exception as error:
            # For example a full disk, or an error of the store: the run must not look alive.
            message = f"{name}: its result could not be recorded: {type(error).__name__}: {error}"
            records.fail(run_id, message)
            raise PhaseError(f"{message}. What it logged is kept in run {run_id}.") from error
        finally:
            observer.close()


def command_failure(exit_code: int) -> str:
    """Say how a command that failed has ended, as far as its exit code tells."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    try:
        ended_by = signal.Signals(number)
    except ValueError:
        return f"its command ended with exit code {exit_code}"
    if ended_by == signal.SIGPIPE:
        return (
            "a program of its command was ended by SIGPIPE, as the next one in the pipe read no further (`head` does "
            "so). Where that is meant, begin the command with `set +o pipefail;`"
        )
    return f"its command was ended by {ended_by.name}"


def absolute_tracking_uri() -> None:
    """Name a relative sqlite store by its full path: child processes start in other folders."""
    uri, prefix = get_tracking_uri(), "sqlite:///"
    path = uri.removeprefix(prefix)
    if path not in (uri, "") and not path.startswith("/"):
        set_tracking_uri(prefix + os.path.abspath(path))
