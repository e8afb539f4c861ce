"""The image of `docker_env`: read, asked about with patience, and pulled."""

import subprocess
from pathlib import Path

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project import image
from mlflow_plugin.project.image import docker_fault, image_digest, pull_image
from mlflow_plugin.project.mlproject import load_project

ENTRIES = "entry_points:\n  train:\n    command: 'true'\n    phase: {}\n"


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


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the place of a program that is taken for docker."""
    path = tmp_path / "docker"
    monkeypatch.setattr(image.shutil, "which", lambda name: str(path))
    image_digest.cache_clear()
    return path


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_an_image_that_is_built_anew_is_seen_by_a_process_that_stays_up(docker):
    program(docker, "echo sha256:a")
    assert image_digest("python:3.11") == "sha256:a"
    program(docker, "echo sha256:b")
    image_digest.cache.expire(image_digest.cache.timer() + 10)  # Ten seconds later.
    assert image_digest("python:3.11") == "sha256:b"


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("exit 0", ""),
        ("echo first >&2; echo 'Cannot connect.' >&2; exit 1", "Cannot connect. Start it, and try `docker info`"),
        ("exit 3", "exit code 3. Start it, and try `docker info`"),
        ("printf '\\377' >&2; exit 1", "\ufffd. Start it, and try `docker info`"),
        ("exec sleep 30", "docker did not answer within 0 s. Restart it, and try `docker info`"),
        (None, "cannot be started: Permission denied. Install docker, or take the key out"),
    ],
)
def test_why_docker_starts_no_container_is_said_with_what_to_do(docker, monkeypatch, script, fault):
    monkeypatch.setattr(image, "_DAEMON_SECONDS", 0.3 if script == "exec sleep 30" else 60)
    program(docker, script or "")
    if script is None:
        docker.chmod(0o644)
    assert docker_fault().removeprefix(f"{docker} ") == fault


def test_an_image_is_pulled_and_then_known(docker):
    program(docker, f"case $1 in pull) touch {docker}.there;; *) test -e {docker}.there && echo sha256:a;; esac")
    assert image_digest("python:3.11") == ""
    assert pull_image("python:3.11") == ""
    assert image_digest("python:3.11") == "sha256:a"


def test_an_image_that_cannot_be_pulled_is_named_with_what_docker_says(docker):
    program(docker, "echo 'manifest unknown' >&2; exit 1")
    assert pull_image("python:0") == "manifest unknown. Check its name, and `docker login`; or build it"
    assert pull_image("--help") == "'--help' is no name of an image"
