"""Ask docker for the image that a project runs in."""

import shutil
import subprocess

from cachetools.func import ttl_cache

__all__ = ["docker_fault", "image_digest", "pull_image"]

_PATIENCE_SECONDS = 2.0
_DAEMON_SECONDS = 30.0
_REMEMBERED_SECONDS = 5.0
"""One verdict asks several times. A process that stays up must see that an image was built anew."""


@ttl_cache(maxsize=16, ttl=_REMEMBERED_SECONDS)
def image_digest(image: str) -> str:
    """Return the id (`sha256:...`) that docker has for an image.

    Empty where there is no docker, where it does not answer within two seconds, and where it does not know the image.
    """
    docker = shutil.which("docker")
    if docker is None or image.startswith("-"):
        return ""
    try:
        asked = subprocess.run(
            [docker, "image", "inspect", "--format", "{{.Id}}", image],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    answer = asked.stdout.strip()
    return answer if asked.returncode == 0 and answer.startswith("sha256:") else ""


def docker_fault() -> str:
    """Return why no container can be started here, with what to do about it; empty when one can."""
    docker = shutil.which("docker")
    if docker is None:
        return "docker is not installed. Install it, or take the key out"
    command = [docker, "info", "--format", "{{.ServerVersion}}"]
    try:
        asked = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_DAEMON_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"docker did not answer within {_DAEMON_SECONDS:.0f} s. Restart it, and try `docker info`"
    except OSError as error:
        return f"{docker} cannot be started: {error.strerror}. Install docker, or take the key out"
    return _failure(asked, "Start it, and try `docker info`")


def pull_image(image: str) -> str:
    """Fetch an image as docker does, which shows its progress; return why that failed, empty when it did not."""
    docker = shutil.which("docker")
    if docker is None or image.startswith("-"):
        return f"{image!r} is no name of an image"
    pulled = subprocess.run(
        [docker, "pull", image], stdin=subprocess.DEVNULL, stdout=None, stderr=subprocess.PIPE, check=False
    )
    image_digest.cache_clear()
    return _failure(pulled, "Check its name, and `docker login`; or build it")


def _failure(done: "subprocess.CompletedProcess[bytes]", remedy: str) -> str:
    if done.returncode == 0:
        return ""
    said = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()
    why = said[-1][:300] if said else f"exit code {done.returncode}"
    return f"{why.rstrip('.')}. {remedy}"
