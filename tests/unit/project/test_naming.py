"""A project has the same name each time that MLflow fetches it, and docker is asked about its image with patience."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project import image
from mlflow_plugin.project.image import image_digest
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


# --- docker_env ---


@pytest.mark.parametrize("raw", ["python:3.11", "[a]", "{}", "{image: 3}", "{image: ''}"])
def test_an_image_that_is_no_text_is_refused(tmp_path, raw):
    (tmp_path / "MLproject").write_text(f"docker_env: {raw}\n{ENTRIES}")
    with pytest.raises(UsageError, match=r"key `docker_env`: must be a mapping with an `image`, got .* Allowed: "):
        load_project(tmp_path)


def test_the_image_is_read_and_absent_without_docker_env(tmp_path):
    (tmp_path / "MLproject").write_text(f"docker_env: {{image: 'python:3.11', volumes: []}}\n{ENTRIES}")
    assert load_project(tmp_path).image == "python:3.11"
    (tmp_path / "MLproject").write_text(ENTRIES)
    assert load_project(tmp_path).image == ""


@pytest.mark.parametrize(
    ("script", "digest"),
    [
        ("echo sha256:ab", "sha256:ab"),
        ("echo other", ""),
        ("echo sha256:ab; exit 1", ""),
        ("printf '\\377'", ""),
        ('echo called >> "$0.log"; exec sleep 30', ""),
    ],
)
def test_docker_is_asked_once_and_not_waited_for(tmp_path, monkeypatch, script, digest):
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    monkeypatch.setattr(image.shutil, "which", lambda name: str(docker))
    monkeypatch.setattr(image, "_PATIENCE_SECONDS", 0.5)
    image_digest.cache_clear()
    assert image_digest("python:3.11") == image_digest("python:3.11") == digest
    image_digest.cache_clear()
    if digest == "":
        log = Path(f"{docker}.log")
        assert not log.exists() or log.read_text() == "called\n"


def test_without_docker_nothing_is_known_of_an_image(monkeypatch):
    monkeypatch.setattr(image.shutil, "which", lambda name: None)
    image_digest.cache_clear()
    assert image_digest("python:3.11") == ""
    image_digest.cache_clear()


def test_a_name_that_docker_would_take_for_an_option_is_not_handed_to_it(monkeypatch):
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, "run", refuse)
    image_digest.cache_clear()
    assert image_digest("--help") == ""
