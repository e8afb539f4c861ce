"""Names of MLflow that are not public, as this package relies on them."""

import mlflow.projects.backend.local
import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store import mlflow_internals
from mlflow_plugin.store.mlflow_internals import require_server, run_by_local_backend


def test_an_mlflow_that_starts_commands_in_another_way_is_named_and_nothing_is_started(monkeypatch):
    monkeypatch.setattr(mlflow_internals, "_START", "_start_entry_point")
    with pytest.raises(PhaseError, match=f"MLflow {mlflow.__version__} starts commands in a way"):
        run_by_local_backend(lambda *arguments: pytest.fail("started"))


def test_mlflows_own_function_is_left_as_it_is():
    assert mlflow.projects.backend.local._run_entry_point.__module__ == "mlflow.projects.backend.local"


def test_a_server_that_is_down_is_found_out_soon_and_without_the_environment(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
    with pytest.raises(MlflowException):
        require_server("http://127.0.0.1:9", "0", patience)
