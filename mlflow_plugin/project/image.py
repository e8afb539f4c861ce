"""Ask docker for the digest of the image that a project runs in."""

import shutil
import subprocess
from functools import lru_cache

_PATIENCE_SECONDS = 2.0


@lru_cache(maxsize=16)
def image_digest(image: str) -> str:
    """Return the id (`sha256:...`) that docker has for an image, asked once a process.

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
