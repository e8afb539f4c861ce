"""The server's own tracking store and artifacts, limited to the experiments that the sender of a request may read.

All private names of MLflow's server that the page needs stand here; seen in MLflow 3.17.2.
"""

import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from flask import Flask, Request
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.server import handlers
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.client import TrackingServiceClient
from mlflow.utils.uri import validate_path_is_safe
from mlflow.utils.validation import _validate_run_id

from mlflow_plugin.store.run import PhaseRun

LARGEST_ARTIFACT = 2_000_000
"""Bytes. A manifest of a thousand files fits."""

_OPEN = {"get_run", "get_experiment", "search_experiments", "search_runs", "set_tag", "tracking_uri"}


class _ServerStore(TrackingServiceClient):
    @property
    def store(self) -> Any:
        return handlers._get_tracking_store()


class ReadableClient(MlflowClient):
    """Read the store that the server itself uses, as if it held only the experiments that may be read."""

    def __init__(self, may_read: Callable[[str], bool]) -> None:
        # The base class would open the database a second time, with other settings than the server's.
        self._tracking_client = _ServerStore("the server's own store")  # type: ignore[no-untyped-call]
        self._may_read = may_read

    def get_run(self, run_id: str) -> Run:
        _validate_run_id(run_id)
        with _same_message("run", run_id):
            run = super().get_run(run_id)
            if self._may_read(run.info.experiment_id):
                return run
        raise _missing("run", run_id)

    def get_experiment(self, experiment_id: str) -> Experiment:
        with _same_message("experiment", experiment_id):
            if self._may_read(experiment_id):
                return super().get_experiment(experiment_id)
        raise _missing("experiment", experiment_id)

    def search_experiments(self, *args: Any, **options: Any) -> Any:
        page = super().search_experiments(*args, **options)
        readable = [one for one in page if self._may_read(one.experiment_id)]
        return type(page)(readable, page.token)

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: int = ViewType.ACTIVE_ONLY,
        *args: Any,
        **options: Any,
    ) -> Any:
        readable = [one for one in experiment_ids if self._may_read(one)]
        return super().search_runs(readable, filter_string, run_view_type, *args, **options)

    def __getattribute__(self, name: str) -> Any:
        # Only the methods that were reviewed are open: another would not check permissions.
        if name.startswith("_") or name in _OPEN:
            return super().__getattribute__(name)
        raise AttributeError(f"{name} is not open to the page: see ReadableClient")


@contextmanager
def _same_message(kind: str, its_id: str) -> Iterator[None]:
    """Use one message for a missing and for a forbidden item, so that the sender cannot tell them apart."""
    try:
        yield
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise _missing(kind, its_id) from None
        raise


def _missing(kind: str, its_id: str) -> MlflowException:
    return MlflowException(f"There is no {kind} {its_id} here that you may read.", RESOURCE_DOES_NOT_EXIST)


def read_artifact(run: PhaseRun, path: str) -> str | None:
    """Return the text of a run's artifact; None when it is missing, larger than LARGEST_ARTIFACT, or no text."""
    with suppress(MlflowException, OSError, UnicodeDecodeError), tempfile.TemporaryDirectory() as folder:
        if not run.artifact_uri:  # Nonsense was in its place.
            return None
        repository, place = _repository(run, path)
        listed = {one.path: one for one in repository.list_artifacts(posixpath.dirname(place) or None)}
        info = listed.get(place)
        if info is None or info.is_dir or (info.file_size or 0) > LARGEST_ARTIFACT:
            return None
        local = Path(repository.download_artifacts(place, folder))
        return local.read_text(encoding="utf-8") if local.stat().st_size <= LARGEST_ARTIFACT else None
    return None


def _repository(run: PhaseRun, path: str) -> tuple[ArtifactRepository, str]:
    safe = validate_path_is_safe(path)
    if handlers._is_servable_proxied_run_artifact_root(run.artifact_uri):
        place = handlers._get_proxied_run_artifact_destination_path(run.artifact_uri, safe)
        scoped = handlers._get_workspace_scoped_repo_path_if_enabled(place)
        return handlers._get_artifact_repo_mlflow_artifacts(), str(scoped)
    return handlers._get_artifact_repository_for_uri(run.artifact_uri), safe


def serves_artifacts_only() -> bool:
    return bool(os.environ.get("_MLFLOW_SERVER_ARTIFACTS_ONLY"))


def with_static_prefix(path: str) -> str:
    """Return a route as the server shows it, below the `--static-prefix` that it was started with."""
    return str(handlers._add_static_prefix(path))


def bootstrap_basic_auth() -> None:
    """Prepare MLflow's basic-auth as `mlflow server --app-name basic-auth` does. Raises ImportError."""
    from mlflow.server import _bootstrap_basic_auth

    _bootstrap_basic_auth()


def has_known_gate(app: Flask) -> bool:
    """Return True when MLflow's basic-auth checks every request of an app in the way that `dashboard.access` knows."""
    from mlflow.server import auth

    gates = app.before_request_funcs.get(None, [])
    return hasattr(auth, "authorize") and auth._before_request in gates


def validator_of(request: Request) -> object:
    """Return the function by which MLflow's basic-auth decides about a request; None when it has none."""
    from mlflow.server import auth

    return auth._find_validator(request)
