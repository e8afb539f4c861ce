"""Start the command of a phase in a process whose environment is an explicit mapping.

Several phases may be started from threads of one process, so nothing is ever set in this process's own environment.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from mlflow.projects.utils import MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG, PROJECT_ENV_MANAGER, PROJECT_SYNCHRONOUS
from mlflow.tracking import get_tracking_uri

from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.store.mlflow_internals import environment_of_run, run_by_local_backend

# MLflow announces the command it runs. It is started here, and announced in the same words.
_mlflow_logger = logging.getLogger("mlflow.projects.backend.local")

_SUPERVISOR = """\
exec 3>&2
{ bash -o pipefail -c "$1" 2>&3 3>&-; code=$?; } 2>/dev/null
exec 3>&-
one=$$
while [ "${one:-0}" -gt 1 ] && [ "$one" != "$2" ]; do
  if [ -r "/proc/$one/stat" ]; then
    read -r line <"/proc/$one/stat"; read -r _ one _ <<<"${line##*) }"
  else
    one=$(ps -o ppid= -p "$one"); one=${one// /}
  fi
done
[ "$one" = "$2" ] && exit "$code"
exec "$3" -P -m mlflow_plugin.backends.finish "$code" "$SECONDS"
"""
"""Runs the command ($1) and ends with its exit code. A failure anywhere in a pipe is a failure (`pipefail`). Where the
process that started it ($2) is no ancestor any more by then, it is gone, even as a zombie, and nobody waits for that
code: the run is recorded by the interpreter $3.
The second standard error keeps the shell's own words about a child that was killed out of the log."""


@dataclass(frozen=True)
class StartedCommand:
    """A command that runs: its process, which is a shell around it, and its text."""

    process: "subprocess.Popen[bytes]"
    text: str


def start_command(
    directory: str,
    entry_point: str,
    parameters: Mapping[str, object],
    *,
    run_id: str,
    experiment_id: str,
    manager: str,
    config: Mapping[str, object],
    observer: Observer,
    variables: Mapping[str, str | None],
    output: IO[bytes] | None = None,
) -> StartedCommand:
    """Start the command of an entry point as MLflow's local backend does, environment manager and container included.

    Args:
        directory: The project's folder.
        entry_point: The entry point.
        parameters: Its parameters.
        run_id: The MLflow run that the command is to find.
        experiment_id: The experiment of that run.
        manager: The environment manager.
        config: The configuration that `mlflow run` hands to a backend.
        observer: Records what the command reads.
        variables: Variables that the command gets beside those of this process; None removes one.
        output: The file that it prints to, in place of this process's output and errors.
    """

    def start(command: str, folder: str, experiment: str, run: str) -> StartedCommand:
        _mlflow_logger.info("=== Running command '%s' in run with ID '%s' === ", command, run)
        words = ["bash", "-c", _SUPERVISOR, "bash", command, str(os.getpid()), sys.executable]
        own = environment_of_run(run, experiment)
        environment = {**os.environ, **own, **variables}
        given = {name: value for name, value in environment.items() if value is not None}
        given |= observer.variables(given)
        words = observer.command(words, command)
        errors = None if output is None else subprocess.STDOUT
        process = subprocess.Popen(words, close_fds=True, cwd=folder, env=given, stdout=output, stderr=errors)
        return StartedCommand(process, command)

    settings = {
        **_NO_DOCKER,
        **config,
        PROJECT_ENV_MANAGER: manager,
        PROJECT_SYNCHRONOUS: True,
        MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG: run_id,
    }
    arguments = (directory, entry_point, dict(parameters), None, settings, get_tracking_uri(), experiment_id)
    started: StartedCommand = run_by_local_backend(start, *arguments)
    return started


_NO_DOCKER = {"DOCKER_ARGS": None, "STORAGE_DIR": None, "build_image": False, "docker_auth": None}
