"""`start_phase`: the first act of a phase's script. Decides as the backend does, unless the backend has decided
already.
"""

import io
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.checkpoints.session import CheckpointSession
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import PhaseError, UsageError, store_trouble
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.handover import DECIDED, INTERPRETER, LAUNCHED, LONG_VALUES, input_variables
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.execution.resolution import settle_request
from mlflow_plugin.machine.environment_facts import environment_facts
from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.machine.signals import Terminated, Termination, orderly_termination
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.phase.follower import Follower, following, started_by_rank_0
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.project.invocation import Invocation, env_manager_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.parameters import logged_value, without_defaults
from mlflow_plugin.reports.experiment_log import log_ended
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History, phase_run
from mlflow_plugin.store.http_retries import ask_again_when_cut
from mlflow_plugin.store.random_isolation import reserve_random_state
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)


@contextmanager
def start_phase() -> Iterator[ActivePhase]:
    """Holds the phase that this process was started for by `mlflow run`.

    When an earlier run is reused the process ends here with exit code 0; when a question is open, with 3 and the
    commands for each option; when the request is wrong, with 2. Inside the block an MLflow run is active. Leaving the
    block uploads the outputs, verifies them and commits the run; an exception records it as failed, a signal or the
    phase's timeout as killed, and what it logged is kept.

    Of several processes that torchrun or accelerate have started, rank 0 is the phase. The others wait for its verdict
    and get a `Follower`, which records and saves nothing.
    """
    attach_terminal_handler()
    if rank() > 0:
        yield from _following()
        return
    with _logged_when_ended(Path.cwd()), orderly_termination() as termination:
        try:
            records, work, run, resumed_from = _settle()
        except PhaseError as error:
            _leave(error)
        except MlflowException as error:
            _leave(store_trouble(error))
        except KeyboardInterrupt:
            _leave(PhaseError("interrupted from the keyboard before anything was computed."))
        # The backend has set these already; under MLflow's own this is the first to know them.
        os.environ.update(input_variables(work.inputs))
        phase = work.request.phase
        limit = f"stopped after timeout_minutes = {phase.timeout_minutes or 0:g}"
        with termination.after((phase.timeout_minutes or 0) * 60, limit):
            yield from _computing(records, work, run, resumed_from, termination)


@contextmanager
def _logged_when_ended(project: Path) -> Iterator[None]:
    """Keeps the experiment log of the project in a folder, unless the backend that started this process does."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    decided = os.environ.get(DECIDED) == run_id != os.environ.get(LAUNCHED)
    try:
        yield
    finally:
        if run_id and not decided:
            log_ended(project, run_id)


def _computing(
    records: Records, work: Work, run: PhaseRun, resumed_from: PhaseRun | None, termination: Termination
) -> Iterator[ActivePhase]:
    """The block of `start_phase`: whatever ends it is recorded on the run."""
    import mlflow

    ask_again_when_cut()
    reserve_random_state(run.artifact_uri, *(used.artifact_uri for used in work.inputs.values()))
    request = work.request
    with tempfile.TemporaryDirectory() as folder, Heartbeat(records, run.run_id) as heartbeat:
        staging = Path(folder)
        checkpoints = CheckpointSession(records, run, request.phase, resumed_from, termination)
        active = ActivePhase(
            records, run.run_id, request.phase, request.values, work.inputs, staging, heartbeat, checkpoints
        )
        ended: SystemExit | None = None
        try:
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
                    checkpoints.wait_until_saved()  # What is being saved is what the next run goes on from.
                    raise
                complete_work(records, run.run_id, work, checkpoints.elapsed_seconds, staged=staging)
        except (KeyboardInterrupt, Terminated) as error:
            if isinstance(error, Terminated):
                with suppress(KeyboardInterrupt, Terminated):  # Told once more, it waits no longer.
                    checkpoints.wait_until_saved()
            _stop(records, run.run_id, f"{request.phase.name}: {str(error) or 'interrupted from the keyboard'}")
        except SystemExit as error:
            _fail(records, run.run_id, f"the script ended itself with {error.code}")
            raise
        except PhaseError as error:
            _fail(records, run.run_id, str(error))
            _leave(error)
        except BaseException as error:
            _fail(records, run.run_id, f"{type(error).__name__}: {error}")
            if isinstance(error, MlflowException) and _is_of_the_store(error):
                _leave(store_trouble(error))  # No fault of the script.
            raise
        if ended is not None:
            raise ended


def _following() -> Iterator[ActivePhase]:
    """The block of `start_phase` in a process that is not rank 0."""
    try:
        ask_again_when_cut()
        reserve_random_state()
        client, run_id = _named_run()
        started = started_by_rank_0(client, run_id)
        found = client.get_run(run_id)
        request = _request(client, run_id, found.info.experiment_id, found.data.tags, found.data.params)
        inputs, _, resumed_from = _decided(client, started, request, found.data.tags)
    except PhaseError as error:
        _leave(error)
    except MlflowException as error:
        _leave(store_trouble(error))
    os.environ.update(input_variables(inputs))
    with following(client, run_id):
        yield Follower(Records(client), started, request.phase, request.values, inputs, resumed_from)


def _stop(records: Records, run_id: str, reason: str) -> NoReturn:
    """Ends a run that was told to end, and this process."""
    with suppress(MlflowException):
        if phase_run(records.client.get_run(run_id)).complete:  # The signal came a moment too late.
            records.end(run_id, "FINISHED")
            _leave(PhaseError(f"{reason}, when it had completed; run {run_id} counts."))
    _fail(records, run_id, reason, "KILLED")
    _leave(PhaseError(f"{reason}; what it logged is kept in run {run_id}."))


def _fail(records: Records, run_id: str, reason: str, status: str = "FAILED") -> None:
    """Records how a run ended. A store that is gone must not hide why."""
    try:
        records.fail(run_id, reason, status=status)
    except MlflowException as error:
        _logger.warning(f"run {run_id} could not be marked as {status.lower()} ({reason}): {store_trouble(error)}")


def _is_of_the_store(error: MlflowException) -> bool:
    """Whether the server is gone, or the database cannot be written: its disk is full, it does not answer."""
    return isinstance(error.__context__, OSError) or error.error_code == "TEMPORARILY_UNAVAILABLE"


def _leave(error: PhaseError) -> NoReturn:
    _logger.error(str(error))
    sys.exit(error.exit_code)


def _settle() -> tuple[Records, Work, PhaseRun, PhaseRun | None]:
    """The work to be done by this process; ends the process when there is none."""
    client, run_id = _named_run()
    records = Records(client)
    found = client.get_run(run_id)
    try:
        request = _request(client, run_id, found.info.experiment_id, found.data.tags, found.data.params)
    except PhaseError as error:
        records.fail(run_id, str(error))
        raise
    if os.environ.get(DECIDED) == run_id:
        run = phase_run(found)
        records.check_owner(run_id)  # Its starter may have been killed, and the work taken over, before this began.
        if os.environ.get(INTERPRETER, sys.prefix) != sys.prefix:
            records.environment(run_id, environment_facts())  # The command has chosen another than its starter knew.
        inputs, superseded, resumed_from = _decided(client, run, request, found.data.tags)
        return records, Work(request, inputs, superseded), run, resumed_from
    attempt = settle_request(request, records, lambda: run_id)
    if attempt.source is not None:
        _logger.info(f"{request.phase.name}: nothing to compute; the outputs are those of run {attempt.source.run_id}")
        sys.exit(0)
    records.environment(run_id, environment_facts())
    return records, attempt.work(), phase_run(client.get_run(run_id)), attempt.resumed_from()


def _named_run() -> tuple[MlflowClient, str]:
    """The store, and the id of the run that `mlflow run` has made for this process. Raises UsageError without."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # Otherwise nothing is seen for minutes over SSH or in a log file.
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    if not run_id:
        raise UsageError("this script is a phase of an MLflow Project: start it with `mlflow run . -e PHASE`.")
    # MLflow refuses a name beside the id that `mlflow run` hands down.
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    return MlflowClient(), run_id


def _decided(
    client: MlflowClient, run: PhaseRun, request: Request, tags: Mapping[str, str]
) -> tuple[dict[str, PhaseRun], tuple[str, ...], PhaseRun | None]:
    """What a verdict that another process reached has left on the run: the runs that feed it, the ids of those that it
    takes the place of, and the run to go on from.
    """
    history = History(client, run.experiment_id, request.project)
    fed = history.runs(run.inputs.values())
    inputs = {need: fed[used] for need, used in run.inputs.items() if used in fed}
    superseded = tuple(filter(None, tags.get(schema.SUPERSEDES, "").split(",")))
    return inputs, superseded, history.run(tags.get(schema.RESUMED_FROM, ""))


def _request(
    client: MlflowClient, run_id: str, experiment_id: str, tags: dict[str, str], params: dict[str, str]
) -> Request:
    project = load_project(Path.cwd())
    name = tags.get("mlflow.project.entryPoint", "")
    phase = project.phase(name)
    handed = json.loads(os.environ.get(LONG_VALUES, "{}")) if os.environ.get(DECIDED) == run_id else {}
    given: dict[str, object] = {
        key: handed[key] if key in handed else logged_value(value, sys.argv) for key, value in params.items()
    }
    asked_as = Invocation(
        project.directory,
        name,
        without_defaults(given, phase.parameters),
        experiment_id=experiment_id,
        env_manager=env_manager_of(tags),
        typed_elsewhere=True,
    )
    return Request(
        project, phase, given, client, experiment_id, argv=tuple(sys.argv), own_run_id=run_id, asked_as=asked_as
    )
