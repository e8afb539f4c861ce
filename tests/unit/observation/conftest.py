from pathlib import Path

import pytest

from mlflow_plugin.observation.places import Places
from tests.unit.observation.observing import Observed


@pytest.fixture(autouse=True)
def own_cache(cache_folder) -> None:
    """Let every test here begin with an empty cache."""


@pytest.fixture
def project(tmp_path) -> Path:
    folder = tmp_path / "repository" / "project"
    folder.mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    return folder


@pytest.fixture
def observed(project, tmp_path, monkeypatch) -> Observed:
    # Elsewhere is not a folder for temporary files, as it is for people.
    for module in ("tracing", "file_digests", "listings"):
        monkeypatch.setattr(f"mlflow_plugin.observation.{module}.is_temporary", lambda path: "/scratch" in path)
    (tmp_path / "data").mkdir()
    return Observed(project, Places(project, project.parent, {"data": tmp_path / "data"}))
