"""`python -m mlflow_plugin.backends.finish CODE SECONDS`: record how a command ended whose starter is gone.

The shell around a command starts it (`backends.command`), as the process that decided was killed and nobody waits for
the exit code. A script that holds its phase has recorded its end by itself; for any other script this does it.
"""

import logging
import sys
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.backends.execution import command_failure
from mlflow_plugin.errors import EndedByScriptError, PhaseError, TakenOverError, store_trouble
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.handover import decided_before, handed_request, named_run
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.observation.recorder import unobserved
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.reports.experiment_log import log_ended
from mlflow_plugin.store.run_decoding import phase_run

# Not __name__, which `python -m` makes __main__: the handler hears only what is below mlflow_plugin.
_logger = logging.getLogger("mlflow_plugin.backends.finish")


def main() -> int:
    """Record the end of the command of the active MLflow run, and return the command's exit code."""
    attach_terminal_handler()
    exit_code, seconds = int(sys.argv[1]), float(sys.argv[2])
    try:
        client, run_id = named_run()
        with unobserved():
            _finish(client, run_id, exit_code, seconds)
        log_ended(Path.cwd(), run_id)
    except PhaseError as error:
        _logger.error(str(error))
        return exit_code or error.exit_code
    except MlflowException as error:
        _logger.error(str(store_trouble(error)))
        return exit_code or 1
    return exit_code


def _finish(client: MlflowClient, run_id: str, exit_code: int, seconds: float) -> None:
    records, stored = Records(client), client.get_run(run_id)
    run = phase_run(stored)
    if run.complete or run.successor or run.status == "FAILED":
        return
    name = stored.data.tags.get("mlflow.project.entryPoint", "")
    if exit_code != 0:
        records.end_unfinished(run, f"{name}: {command_failure(exit_code)}; the process that started it was gone")
        return
    try:
        data = stored.data
        request = handed_request(client, run_id, run.experiment_id, data.tags, data.params)
        inputs, superseded, resumed_from = decided_before(client, run, request, data.tags)
        observer = Observer(request, run, inputs, resumed_from)
        observer.join()
        with Heartbeat(records, run_id):
            observer.keep()
            complete_work(records, run_id, Work(request, inputs, superseded), seconds)
    except (TakenOverError, EndedByScriptError):
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, PhaseError) else f"{type(error).__name__}: {error}"
        message = f"{name}: its result could not be recorded: {reason}"
        records.fail(run_id, message)
        raise PhaseError(f"{message}. What it logged is kept in run {run_id}.") from error
    _logger.info(f"{name}: the process that started it was gone; run {run_id} is complete")


if __name__ == "__main__":
    sys.exit(main())
