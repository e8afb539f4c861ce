"""Fixtures for tests that run whole projects."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from project_folder import RECORD, ROUTES, ProjectFolder


@pytest.fixture
def project(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectFolder:
    """Return an empty project folder with an empty store, both in force here and in child processes."""
    folder = ProjectFolder(tmp_path)
    monkeypatch.chdir(folder.folder)
    monkeypatch.setenv(RECORD, str(tmp_path / "executed.txt"))
    # Commands of MLproject files say `python`: it has to be this one, also when the environment is not activated.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    # Compiled files belong to what happens to a user's project between two runs.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    return folder


@pytest.fixture
def make_project(project: ProjectFolder) -> Callable[[Mapping[str, str]], ProjectFolder]:
    """Return a function that writes the files of a project and returns its folder."""

    def make(files: Mapping[str, str]) -> ProjectFolder:
        project.write(files)
        return project

    return make


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest) -> str:
    """Return each way of running a phase in turn: MLflow's local backend, and the plugin's."""
    return str(request.param)
