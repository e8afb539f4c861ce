"""Choose the environment of a phase's process: this one when it satisfies the project, else conda, else uv."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mlflow.projects import env_type

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine import environment_facts as environment_facts_module
from mlflow_plugin.machine.environment_facts import environment_facts
from mlflow_plugin.machine.requirements import unmet_requirements
from mlflow_plugin.store.mlflow_internals import MlflowProject

# What MLflow puts before a command to activate the environment that it has built.
_ACTIVATION = re.compile(
    r"(?:source \S+/bin/activate|(?:source \S+ && )?conda activate \S+(?: 1>&2)?|source \S+ \S+ 1>&2) && "
)
_FACTS_SCRIPT = Path(environment_facts_module.__file__)
_ASK_SECONDS = 60.0
_NO_INPUT = subprocess.DEVNULL


def choose_env_manager(project: MlflowProject, named: str | None) -> str:
    """Return the MLflow environment manager to use; one that the caller named is taken as it is.

    Raises:
        PhaseError: This environment does not satisfy the project, and neither conda nor uv is there to build one.
    """
    if named:
        return named
    if project.env_type == env_type.DOCKER or not project.env_config_path:
        return "local"
    unmet = unmet_requirements(Path(project.env_config_path))
    if not unmet:
        return "local"
    if project.env_type == env_type.CONDA and (os.environ.get("MLFLOW_CONDA_HOME") or shutil.which("conda")):
        return "conda"
    if shutil.which("uv"):
        return "uv"
    raise PhaseError(
        f"{project.env_config_path}: this environment ({sys.prefix}) does not satisfy it: {'; '.join(unmet[:5])}. "
        "Install what is missing, or install conda or uv to have an environment built, or name one with --env-manager."
    )


def facts_of_environment(manager: str, command: str) -> dict[str, object]:
    """Return the facts of the environment that a command runs in.

    For the manager `local` that is this one, else the one that MLflow activates at the beginning of the command: its
    own interpreter is asked, which takes seconds with conda.

    Raises:
        PhaseError: They cannot be found out, as for a container.
    """
    if command.startswith("docker run "):
        raise PhaseError("it is computed in a container")
    if manager == "local":
        return environment_facts()
    activation = _ACTIVATION.match(command)
    if activation is None:
        raise PhaseError("its command does not say in which environment it runs")
    ask = ["bash", "-c", f"{activation[0]}python -I {shlex.quote(str(_FACTS_SCRIPT))}"]
    try:
        answer = subprocess.run(ask, capture_output=True, text=True, timeout=_ASK_SECONDS, check=True, stdin=_NO_INPUT)
        return dict(json.loads(answer.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        raise PhaseError(f"its interpreter does not say: {error}") from None
