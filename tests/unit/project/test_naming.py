"""A project has the same name each time that MLflow fetches it."""

import tempfile
from pathlib import Path

import pytest

from mlflow_plugin.project.mlproject import load_project

ENTRIES = "entry_points:\n  train:\n    command: 'true'\n    phase: {}\n"


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def clone(folder: Path, url: str, name: str = "") -> Path:
    """Make a folder that looks as MLflow's clone of a repository does."""
    (folder / ".git").mkdir(parents=True)
    (folder / ".git/config").write_text(
        f'[core]\n\tbare = false\n[remote "origin"]\n\turl = {url}\n\tfetch = +refs/*\n'
    )
    (folder / "MLproject").write_text(f"name: {name}\n{ENTRIES}" if name else ENTRIES)
    return folder


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/team/digits.git",
        "https://example.org/team/digits/",
        "git@example.org:team/digits.git",
        "git@example.org:digits",
        "/srv/git/digits.git",
        "../digits.git",
    ],
)
def test_a_clone_of_a_git_uri_has_the_name_of_the_repository(temporary, url):
    names = {load_project(clone(temporary / place, url)).name for place in ("tmpab1", "tmpab2")}
    assert names == {"digits"}


def test_a_declared_name_counts_first(temporary):
    assert load_project(clone(temporary / "tmpab1", "/srv/digits.git", "numbers")).name == "numbers"


def test_a_working_copy_keeps_the_name_of_its_folder(tmp_path, temporary):
    assert load_project(clone(tmp_path / "work", "/srv/digits.git")).name == "work"
    assert load_project(clone(temporary / "deeper/work", "/srv/digits.git")).name == "work"


@pytest.mark.parametrize("text", ["", "[core", "[core]\nbare = false\n", '[remote "origin"]\nurl =\n', "\0", "\udcff"])
def test_a_temporary_folder_without_an_origin_keeps_its_name(temporary, text):
    folder = clone(temporary / "tmpab1", "x")
    (folder / ".git/config").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert load_project(folder).name == "tmpab1"
