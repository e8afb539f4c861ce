"""`start_phase`: the first act of a phase's script. Decides as the backend does, unless the backend has decided
already.
"""

import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mlflow.exceptions import MlflowException

from mlflow_plugin.checkpoints.session import CheckpointSession
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import EndedByScriptError, PhaseError, store_trouble
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.handover import (
    DECIDED,
    INTERPRETER,
    LAUNCHED,
    decided_before,
    handed_request,
    named_inputs,
    named_run,
)
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.project_files import ProjectFiles
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.execution.resolution import resolve_request
from mlflow_plugin.machine.environment_facts import environment_facts
from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.machine.signals import Terminated, Termination, orderly_termination
from mlflow_plugin.observation.recorder import unobserved
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.phase.follower import Follower, following, started_by_rank_0
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.reports.experiment_log import log_ended
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.http_retries import ask_again_when_cut
from mlflow_plugin.store.input_artifacts import artifact_paths
from mlflow_plugin.store.random_isolation import reserve_random_state
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)


@contextmanager
def start_phase() -> Iterator[ActivePhase]:
    """Hold the phase that `mlflow run` started this process for.

    The process ends here with exit code 0 when an earlier run is reused, with 3 and the commands for each option when a
    question is open, and with 2 when the request is wrong. Inside the block an MLflow run is active. Leaving the block
    uploads the outputs, verifies them and commits the run. An exception records it as failed, a signal or the phase's
    timeout as killed; everything that it logged is kept.

    Of several processes that torchrun or accelerate have started, rank 0 is the phase. The others wait for its verdict
    and get a `Follower`, which records and saves nothing.
    """
    attach_terminal_handler()
    if rank() > 0:
        yield from _following()
        return
    with _logged_when_ended(Path.cwd()), orderly_termination() as termination:
        try:
            with unobserved():
                task = _resolve()
        except PhaseError as error:
            _leave(error)
        except MlflowException as error:
            _leave(store_trouble(error))
        except KeyboardInterrupt:
            _leave(PhaseError("interrupted from the keyboard before anything was computed."))
        phase = task.work.request.phase
        limit = f"stopped after timeout_minutes = {phase.timeout_minutes or 0:g}"
        with named_inputs(task.work.inputs), termination.after((phase.timeout_minutes or 0) * 60, limit):
            yield from _computing(task, termination)


@contextmanager
def _logged_when_ended(project: Path) -> Iterator[None]:
    """Keep the project's experiment log, unless the backend that started this process does."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    decided = os.environ.get(DECIDED) == run_id != os.environ.get(LAUNCHED)
    try:
        yield
    finally:
        if run_id and not decided:
            log_ended(project, run_id)


@dataclass(frozen=True)
class _Task:
    """What this process is to compute, the run that it resumes, and what keeps the files in the project in place."""

    records: Records
    work: Work
    run: PhaseRun
    resumed_from: PhaseRun | None
    files: AbstractContextManager[None]


def _computing(task: _Task, termination: Termination) -> Iterator[ActivePhase]:
    """Run the block of `start_phase` and record on the run however it ends."""
    import mlflow

    records, work, run, resumed_from = task.records, task.work, task.run, task.resumed_from
    ask_again_when_cut()
    each = [used for of_need in work.inputs.values() for used in of_need.each]
    reserve_random_state(run.artifact_uri, *(used.artifact_uri for used in each))
    request = work.request
    observer = Observer(request, run, work.inputs, resumed_from)
    with tempfile.TemporaryDirectory() as folder, _heartbeat(records, run.run_id) as heartbeat, ExitStack() as held:
        staging = Path(folder)
        checkpoints = CheckpointSession(records, run, request.phase, resumed_from, termination, observer.keep)
        observer.observe_this_process()
        active = ActivePhase(
            records, run.run_id, request.phase, request.values, work.inputs, staging, heartbeat, checkpoints
        )
        ended: SystemExit | None = None
        try:
            with unobserved():
                held.enter_context(task.files)
                active.parameters |= artifact_paths(records.client, request.phase, work.inputs)
            with mlflow.start_run(run_id=run.run_id):
                try:
                    yield active
                    checkpoints.finish()
                except SystemExit as error:
                    if error.code not in (None, 0):
                        if not isinstance(error, Terminated):
                            checkpoints.wait_until_saved()
                        raise
                    ended = error
                    checkpoints.finish()
                except Exception:
                    termination.failed()
                    checkpoints.wait_until_saved()  # The next run resumes from what is being saved.
                    raise
                observer.keep()
                with unobserved():
                    complete_work(records, run.run_id, work, checkpoints.elapsed_seconds, staged=staging)
        except (KeyboardInterrupt, Terminated) as error:
            if isinstance(error, Terminated):
                with suppress(KeyboardInterrupt, Terminated):  # Told once more, it waits no longer.
                    checkpoints.wait_until_saved()
            _stop(records, run.run_id, f"{request.phase.name}: {str(error) or 'interrupted from the keyboard'}")
        except SystemExit as error:
            _fail(records, run.run_id, getattr(error, "reason", "") or f"the script ended itself with {error.code}")
            raise
        except PhaseError as error:
            _fail(records, run.run_id, str(error), recorded=isinstance(error, EndedByScriptError))
            _leave(error)
        except BaseException as error:
            _fail(records, run.run_id, f"{type(error).__name__}: {error}")
            if isinstance(error, MlflowException) and _is_of_the_store(error):
                _leave(store_trouble(error))  # No fault of the script.
            raise
        finally:
            observer.close()
        if ended is not None:
            raise ended


@contextmanager
def _heartbeat(records: Records, run_id: str) -> Iterator[Heartbeat]:
    """Keep a heartbeat, whose own reads do not count as those of the phase."""
    with unobserved():
        heartbeat = Heartbeat(records, run_id)
        heartbeat.__enter__()
    try:
        yield heartbeat
    finally:
        heartbeat.stop()


def _following() -> Iterator[ActivePhase]:
    """Run the block of `start_phase` in a process that is not rank 0."""
    try:
        ask_again_when_cut()
        reserve_random_state()
        client, run_id = named_run()
        started = started_by_rank_0(client, run_id)
        found = client.get_run(run_id)
        request = handed_request(client, run_id, found.info.experiment_id, found.data.tags, found.data.params)
        inputs, _, resumed_from = decided_before(client, started, request, found.data.tags)
    except PhaseError as error:
        _leave(error)
    except MlflowException as error:
        _leave(store_trouble(error))
    with named_inputs(inputs), following(client, run_id):
        yield Follower(Records(client), started, request.phase, request.values, inputs, resumed_from)


def _stop(records: Records, run_id: str, reason: str) -> NoReturn:
    """End a run that was told to end, and this process."""
    with suppress(MlflowException):
        if phase_run(records.client.get_run(run_id)).complete:  # The signal came a moment too late.
            records.end(run_id, "FINISHED")
            _leave(PhaseError(f"{reason}, when it had completed; run {run_id} counts."))
    _fail(records, run_id, reason, "KILLED")
    _leave(PhaseError(f"{reason}; what it logged is kept in run {run_id}."))


def _fail(records: Records, run_id: str, reason: str, status: str = "FAILED", *, recorded: bool = False) -> None:
    """Record how a run ended, unless that was recorded already. A store that is gone must not hide why."""
    if recorded:
        return
    try:
        records.fail(run_id, reason, status=status)
    except MlflowException as error:
        _logger.warning(f"run {run_id} could not be marked as {status.lower()} ({reason}): {store_trouble(error)}")


def _is_of_the_store(error: MlflowException) -> bool:
    """Return whether the server is gone or the database cannot be written, for example because its disk is full."""
    return isinstance(error.__context__, OSError) or error.error_code == "TEMPORARILY_UNAVAILABLE"


def _leave(error: PhaseError) -> NoReturn:
    _logger.error(str(error))
    sys.exit(error.exit_code)


def _tell_of_matrix(request: Request) -> None:
    """Say that one process is one run of a matrix, where nobody may have chosen which."""
    phase = request.phase
    if phase.member and all(str(phase.parameters[name].default) == value for name, value in phase.member.items()):
        _logger.info(f"{phase.full_name}: MLflow's own backend starts one run of the matrix; `-b phases` starts all")


def _resolve() -> _Task:
    """Return the work of this process; end the process when there is none.

    A process that has decided already keeps the files in the project in place itself.
    """
    client, run_id = named_run()
    records = Records(client)
    found = client.get_run(run_id)
    try:
        request = handed_request(client, run_id, found.info.experiment_id, found.data.tags, found.data.params)
    except PhaseError as error:
        records.fail(run_id, str(error))
        raise
    if os.environ.get(DECIDED) == run_id:
        run = phase_run(found)
        records.check_owner(run_id)  # Its starter may have been killed, and the work taken over, before this began.
        if os.environ.get(INTERPRETER, sys.prefix) != sys.prefix:
            records.environment(run_id, environment_facts())  # The command has chosen another than its starter knew.
        inputs, superseded, resumed_from = decided_before(client, run, request, found.data.tags)
        return _Task(records, Work(request, inputs, superseded), run, resumed_from, nullcontext())
    _tell_of_matrix(request)
    resolution = resolve_request(request, records, lambda: run_id)
    if resolution.reused is not None:
        _logger.info(
            f"{request.phase.name}: nothing to compute; the outputs are those of run {resolution.reused.run_id}"
        )
        sys.exit(0)
    records.environment(run_id, environment_facts())
    files = ProjectFiles.of(resolution.decision).in_place(resolution.decision)
    return _Task(records, resolution.work(), phase_run(client.get_run(run_id)), resolution.resumed_from(), files)
