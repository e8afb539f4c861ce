"""Private names of MLflow that this package needs, each behind a function of our own.

Seen in MLflow 3.17.2. A new MLflow may rename any of them: this module and `dashboard/store.py` are the places to look.
"""

import sys
from typing import Any

from mlflow.projects._project_spec import Project as MlflowProject
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

__all__ = [
    "MlflowProject",
    "close_connections",
    "download_artifact",
    "fetch_project",
    "forget_active_experiment",
    "s3_client",
]


def fetch_project(uri: str, version: str | None) -> str:
    """Fetch a project (a folder, a git URI, with a version or not) and return the folder that it lies in."""
    from mlflow.projects.utils import _fetch_project

    return str(_fetch_project(uri, version))


def download_artifact(repository: ArtifactRepository, path: str, destination: str) -> None:
    """Fetch one file of an artifact repository to a local path.

    The public `download_artifacts` lists the parent folder first and chooses the local name itself.
    """
    repository._download_file(path, destination)


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
