"""Let the kernel tell what a process tree opens, where the shim cannot be had."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from mlflow_plugin.observation.shim import INJECTED, run_briefly

SCRIPT = INJECTED / "_mlflow_phases_notification.py"
_SECONDS_TO_TRY = 30


@cache
def unavailable() -> str:
    """Return the reason why the kernel cannot tell here, empty where it can."""
    try:
        done = run_briefly([sys.executable, "-I", "-S", str(SCRIPT), "try"], _SECONDS_TO_TRY)
    except (OSError, subprocess.SubprocessError) as error:
        return f"notifications of the kernel could not be tried: {error}"
    message = (done.stderr.strip().splitlines() or ["they end with an error"])[-1].partition("Error: ")[2]
    return f"the kernel tells nothing: {message}" if done.returncode else ""


def watched(command: list[str], folder: Path) -> list[str]:
    """Return the command that starts another one under a supervisor."""
    return [sys.executable, "-I", "-S", str(SCRIPT), "run", str(folder), *command]
