"""Row 20: a project with `docker_env`. Docker is a stand-in; MLflow's part and ours are real."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.image import image_digest
from tests.end_to_end.changes.conftest import ChangingProject
from tests.servers.docker import Docker

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def docker(changing: ChangingProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    """Return a docker that has the image of the project `changing`."""
    folder = tmp_path / "docker"
    folder.mkdir()
    docker = Docker(folder)
    docker.images["example:1"] = "sha256:one"
    docker.start()
    monkeypatch.setenv("DOCKER_HOST", docker.url)
    monkeypatch.setenv("PATH", str(docker.bin), prepend=":")
    image_digest.cache_clear()
    use(changing, "example:1")
    changing.script("print('computed')")
    yield docker
    docker.stop()
    image_digest.cache_clear()


def use(changing: ChangingProject, image: str) -> None:
    changing.declare(rest=f"docker_env: {{image: '{image}'}}")


def build(docker: Docker, image: str, image_id: str) -> None:
    docker.images[image] = image_id
    image_digest.cache_clear()  # As some seconds later.


def test_another_tag_of_the_image(changing, docker, runs_after):
    build(docker, "example:2", "sha256:two")
    reason = runs_after(lambda: use(changing, "example:2"))
    assert "the image (example:1 -> example:2)" in reason
    assert docker.containers == [["python", "main.py"]] * 2


def test_the_same_tag_with_another_digest(docker, runs_after):
    reason = runs_after(lambda: build(docker, "example:1", "sha256:other"))
    assert "the content of the image example:1" in reason


def test_an_image_that_docker_no_longer_has_is_named_as_not_compared(changing, docker, reuses_after):
    def remove() -> None:
        docker.images.clear()
        image_digest.cache_clear()

    reason = reuses_after(remove)
    assert "what it read in its container was not recorded" in reason
    assert "the content of the image example:1 was not compared" in reason


def test_what_a_container_reads_is_not_claimed_to_be_the_same(changing, docker):
    changing.script("open('data.csv').read()")
    changing.write("data.csv", "1\n")
    assert changing.start().computed
    changing.write("data.csv", "2\n")
    asked = changing.start()
    assert (asked.verdict, asked.computed) == ("ask", False)
    assert "what it read in its container was not recorded, and the code names data.csv" in asked.reason


def test_a_script_in_the_container_that_holds_its_phase_keeps_what_it_saw(changing, docker):
    changing.script("from mlflow_plugin import start_phase\nwith start_phase():\n    open('data.csv').read()")
    changing.write("data.csv", "1\n")
    assert changing.start().computed
    assert changing.start().verdict == "reuse"
    changing.write("data.csv", "2\n")
    changed = changing.start()
    assert (changed.verdict, changed.computed) == ("run", True)
    assert "data.csv, which has changed since" in changed.reason


def test_an_image_is_pulled_before_the_run_is_made_so_that_its_content_counts(changing, docker):
    docker.registry["example:3"] = "sha256:three"
    use(changing, "example:3")
    assert changing.start().computed
    again = changing.start()
    assert again.verdict == "reuse"
    assert "was not compared" not in again.reason


@pytest.mark.parametrize("gone", ["image", "daemon", "command"])
def test_without_image_or_docker_the_message_says_so_and_no_run_is_made(changing, docker, monkeypatch, gone):
    if gone == "image":
        use(changing, "example:none")
        message = "docker cannot pull example:none: manifest for example:none not found. Check its name"
    elif gone == "daemon":
        docker.stop()
        message = r"key `docker_env`: Cannot connect to the Docker daemon. Is the docker daemon running\?. Start it"
    else:
        monkeypatch.setenv("PATH", "/nowhere")
        message = "key `docker_env`: docker is not installed. Install it, or take the key out"
    with pytest.raises(PhaseError, match=message):
        changing.run()
    assert not changing.store.runs("main")
