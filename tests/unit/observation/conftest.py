from pathlib import Path

import pytest

from mlflow_plugin.observation.places import Places
from mlflow_plugin.project import digests
from tests.unit.observation.observing import Observed


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "mlflow-phases"
    digests.flush()


@pytest.fixture
def project(tmp_path) -> Path:
    folder = tmp_path / "repository" / "project"
    folder.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    return folder


@pytest.fixture
def observed(project, tmp_path, monkeypatch) -> Observed:
    # Elsewhere is not a folder for temporary files, as it is for people.
    monkeypatch.setattr("mlflow_plugin.observation.tracing.is_temporary", lambda path: "/scratch" in path)
    monkeypatch.setattr("mlflow_plugin.observation.listings.is_temporary", lambda path: "/scratch" in path)
    (tmp_path / "data").mkdir()
    return Observed(project, Places(project, project.parent, {"data": tmp_path / "data"}))
