"""`python -m mlflow_plugin.pipeline`: the command of a pipeline entry point in an MLproject file.

It decides on each phase in order and computes those that need it. The command stands in users' MLproject files.
"""

import logging
import os
import sys
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.backends.execution import ExecutionSettings, absolute_tracking_uri
from mlflow_plugin.backends.local import launch_locally
from mlflow_plugin.backends.pipeline import run_pipeline
from mlflow_plugin.errors import PhaseError, UsageError, store_trouble
from mlflow_plugin.machine.signals import orderly_termination
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.project.invocation import Invocation, env_manager_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.parameters import logged_value, without_defaults

# Not __name__, which `python -m` makes __main__: the handler hears only what is below mlflow_plugin.
_logger = logging.getLogger("mlflow_plugin.pipeline")


def main() -> int:
    """Run the pipeline of the active MLflow run, as MLflow's own local backend has started it; return the exit code."""
    attach_terminal_handler()
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    try:
        if not run_id:
            raise UsageError("this is the command of a pipeline entry point: start it with `mlflow run . -e main`.")
        absolute_tracking_uri()
        client = MlflowClient()
        run = client.get_run(run_id)
        project = load_project(Path.cwd())
        name = run.data.tags.get("mlflow.project.entryPoint", "")
        if name not in project.pipelines:
            raise UsageError(
                f"{project.file}: entry point {name!r} has no `pipeline:` key. Add `pipeline: [PHASE, ...]`."
            )
        parameters = {key: logged_value(value, sys.argv) for key, value in run.data.params.items()}
        typed = without_defaults(parameters, project.pipelines[name].parameters)
        invocation = Invocation(
            project.directory,
            name,
            typed,
            experiment_id=run.info.experiment_id,
            env_manager=env_manager_of(run.data.tags),
            typed_elsewhere=True,
        )
        # MLflow chose the environment of the pipeline when it started this process; the phases share it.
        settings = ExecutionSettings({"ENV_MANAGER": "local"}, backend_name="local")
        with orderly_termination():
            run_pipeline(
                project, name, typed, client, run.info.experiment_id, settings, launch_locally, invocation, run_id
            )
    except KeyboardInterrupt:
        _logger.error("interrupted; the phases that have ended are kept")
        return 1
    except PhaseError as error:
        _logger.error(str(error))
        return error.exit_code
    except MlflowException as error:
        _logger.error(str(store_trouble(error)))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
