"""Fixtures of tests that run whole projects, which the conftest.py of tests/end_to_end and of tests/nightly import."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from project_folder import RECORD, ProjectFolder

if TYPE_CHECKING:
    from tests.nightly.faults.training import Reference
    from tests.servers.stores import Store


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


@pytest.fixture(scope="session")
def reference(stores: "Callable[[str], Store]", tmp_path_factory: pytest.TempPathFactory) -> "Callable[..., Reference]":
    """Return a function that gives the uninterrupted run of a training on a store, computed once in a session."""
    from tests.nightly.faults.training import make_reference

    made: dict[tuple[object, ...], Reference] = {}

    def of(name: str, *, counting: bool = False, **parameters: int) -> "Reference":
        key = (name if counting else "any", counting, *parameters.items())
        if key not in made:
            made[key] = make_reference(
                stores(name), tmp_path_factory.mktemp("reference"), counting=counting, **parameters
            )
        return made[key]

    return of
