"""Is a run alive? RUNNING in the store does not mean so: a heartbeat tells, and on the same machine the process
itself.
"""

import os
import platform
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

BEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0


@lru_cache
def boot_id() -> str:
    """Tells one boot of one machine from all others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return platform.node()


def _process_started(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return None


def heartbeat(step: int | None = None, usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a living process says of itself: time (s since 1970), host, boot, process id and when it began."""
    return {
        "at": round(time.time(), 3),
        "host": platform.node(),
        "boot": boot_id(),
        "pid": os.getpid(),
        "began": _process_started(os.getpid()),
        "step": step,
        **(usage or {}),
    }


def is_alive(beat: Mapping[str, Any], now: float) -> bool:
    """Whether the process behind a heartbeat lives: asked directly on its own machine, else by the beat's age."""
    try:
        if beat.get("boot") == boot_id() and beat.get("host") == platform.node():
            began = _process_started(int(beat["pid"]))
            return began is not None and abs(began - float(beat["began"])) < 2
        return now - float(beat["at"]) < DEAD_AFTER_SECONDS
    except (KeyError, TypeError, ValueError):
        return False
