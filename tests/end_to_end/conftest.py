"""Fixtures for tests that run whole projects."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from project_folder import RECORD, ROUTES, ProjectFolder

# Both routes come to the same decision function; that the local one does is held by the other files at every run.
NIGHTLY_ON_THE_LOCAL_ROUTE = ("test_verdict_table.py", "test_bad_input.py", "test_life.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves what takes long and repeats a test on MLflow's local backend to `make nightly`."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        repeated = item.path.name in NIGHTLY_ON_THE_LOCAL_ROUTE and parameters.get("route") == "local"
        if repeated:
            item.add_marker(pytest.mark.nightly)


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
