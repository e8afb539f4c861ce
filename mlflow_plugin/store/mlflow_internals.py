"""Private names of MLflow that this package needs, each behind a function of our own.

Seen in MLflow 3.17.2. A new MLflow may rename any of them: this module and `dashboard/store.py` are the places to look.
"""

import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from mlflow.projects._project_spec import Project as MlflowProject
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from mlflow_plugin.errors import PhaseError

__all__ = [
    "MlflowProject",
    "close_connections",
    "download_artifact",
    "environment_of_run",
    "fetch_project",
    "forget_active_experiment",
    "is_artifact_uri",
    "require_server",
    "run_by_local_backend",
    "s3_client",
]

_START = "_run_entry_point"
"""The function of `mlflow.projects.backend.local` that starts the process: command, folder, experiment id, run id."""


def fetch_project(uri: str, version: str | None) -> str:
    """Fetch a project (a folder, a git URI, with a version or not) and return the folder that it lies in."""
    from mlflow.projects.utils import _fetch_project

    return str(_fetch_project(uri, version))


def download_artifact(repository: ArtifactRepository, path: str, destination: str) -> None:
    """Fetch one file of an artifact repository to a local path.

    The public `download_artifacts` lists the parent folder first and chooses the local name itself.
    """
    repository._download_file(path, destination)


def is_artifact_uri(uri: str) -> bool:
    """Return whether a URI names a place for artifacts that MLflow has a repository for.

    A path without a scheme is one; an empty one, which would be the present folder, and one with `..` are none.
    """
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry

    scheme = uri.partition(":")[0].lower() if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", uri) else ""
    known: Mapping[str, object] = _artifact_repository_registry._registry
    is_text = not any(unicodedata.category(one) in ("Cc", "Cs") for one in uri)
    return bool(uri) and is_text and ".." not in uri.split("/") and scheme in {*known, ""}


def s3_client(repository: S3ArtifactRepository) -> Any:
    """Return the boto3 client that MLflow made for a repository, with its credentials and endpoint."""
    return repository._get_s3_client()


def close_connections(uri: str) -> None:
    """Close the connections that MLflow keeps for the database of a tracking store until the process ends."""
    if module := sys.modules.get("mlflow.store.tracking.sqlalchemy_store"):
        engine = module.SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()


def forget_active_experiment() -> None:
    """Undo `mlflow.set_experiment`, for which there is no public call."""
    import mlflow

    mlflow.tracking.fluent._active_experiment_id = None


def run_by_local_backend(start: Callable[[str, str, str, str], Any], *arguments: Any) -> Any:
    """Do what MLflow's local backend does, with a function of our own as its last step, which starts the process.

    MLflow's own would take the environment of this process, which other threads use as well. A subclass has nothing to
    override: docker, virtualenv, uv, conda and the tags are one method, which calls that step as a function of its
    module. So the method's code is called with other globals; nothing is patched.

    Args:
        start: Called with the command, the project's folder, the experiment's id and the run's id.
        arguments: Those of `LocalBackend.run`; its configuration must ask for a synchronous run.

    Returns:
        The result of `start`.

    Raises:
        PhaseError: This version of MLflow starts processes in another way.
    """
    from mlflow.projects.backend.local import LocalBackend

    def start_own(command: str, work_dir: str, experiment_id: str, run_id: str) -> Any:
        return start(command, work_dir, experiment_id, run_id)

    run = LocalBackend.run
    if _START not in run.__code__.co_names or run.__closure__:
        import mlflow

        raise PhaseError(
            f"MLflow {mlflow.__version__} starts commands in a way that mlflow-phases does not know. "
            "Install the MLflow version that constraints.txt names, or upgrade mlflow-phases."
        )
    own = FunctionType(run.__code__, {**run.__globals__, _START: start_own}, run.__name__, run.__defaults__)
    return own(LocalBackend(), *arguments)


def environment_of_run(run_id: str, experiment_id: str) -> dict[str, str]:
    """Return the variables that MLflow's local backend gives a command beside those of its own environment."""
    from mlflow.projects.utils import get_run_env_vars
    from mlflow.tracking import get_tracking_uri
    from mlflow.utils.databricks_utils import get_databricks_env_vars

    return {**get_run_env_vars(run_id, experiment_id), **get_databricks_env_vars(get_tracking_uri())}


def require_server(uri: str, experiment_id: str, patience: Mapping[str, str]) -> None:
    """Ask a tracking server for an experiment, with less patience than MLflow's client has.

    MLflow's client takes its patience from the environment, which belongs to all threads of this process.

    Args:
        uri: The address of the server.
        experiment_id: An experiment.
        patience: The retries and the seconds of a request by the names of MLflow's variables, which come first.

    Raises:
        MlflowException: The server does not answer, or has no such experiment.
    """
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request_safe

    retries, seconds = (int(float(os.environ.get(name, value))) for name, value in patience.items())
    http_request_safe(
        get_default_host_creds(uri),
        "/api/2.0/mlflow/experiments/get",
        "GET",
        max_retries=retries,
        timeout=seconds,
        params={"experiment_id": experiment_id},
    )
