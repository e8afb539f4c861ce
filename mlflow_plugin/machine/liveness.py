"""Decide whether the process of a run is alive.

The status RUNNING in the store does not prove it: a killed process cannot change it. On the run's own machine its
process is examined. On other machines its heartbeat, a tag that the run updates at a fixed interval, decides.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlflow_plugin.project.vocabulary import Whereabouts

_logger = logging.getLogger(__name__)


SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "busybox"})
"""Names of programs that wait for a command and pass no signal on to it."""
HEARTBEAT_VARIABLE = "MLFLOW_PHASES_BEAT_SECONDS"
_INTERVALS_UNTIL_DEAD = 6
_INTERVALS_WATCHED = 2.5
_MIN_INTERVAL, _MAX_INTERVAL = 0.05, 600.0


def _heartbeat_seconds(text: str | None) -> float:
    """Return the interval that the environment sets, within bounds; 10 s without one or when it is not a number."""
    try:
        return _within_bounds(float(text or 10.0))
    except ValueError:
        _logger.info(f"{HEARTBEAT_VARIABLE} must be a number of seconds, got {text!r}; using 10 s")
        return 10.0


def _within_bounds(seconds: float) -> float:
    return max(_MIN_INTERVAL, min(_MAX_INTERVAL, seconds))


HEARTBEAT_SECONDS = _heartbeat_seconds(os.environ.get(HEARTBEAT_VARIABLE))
"""The interval between two heartbeats of this process, in seconds."""
DEAD_AFTER_SECONDS = _INTERVALS_UNTIL_DEAD * HEARTBEAT_SECONDS
"""How long after its last heartbeat a process with this interval counts as dead, in seconds."""


@lru_cache
def boot_id() -> str:
    """Return an id of this boot of this machine and, in a container, of its own process numbers (pid namespace)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def new_heartbeat(
    step: int | None = None,
    usage: Mapping[str, Any] | None = None,
    *,
    pid: int | None = None,
    count: int = 0,
) -> dict[str, Any]:
    """Return the content of a heartbeat, to be stored as JSON.

    Args:
        step: The step of the loop, None outside one.
        usage: Further values, such as those of `hardware.usage`.
        pid: The process that the heartbeat is about, by default this one.
        count: The number of earlier heartbeats.

    Returns:
        `at`: the time (s since 1970); `up`: the time by the monotonic clock (s since this machine started); `host`,
        `boot`, `pid`: the process; `began`: when it started (s), which distinguishes it from a later process with the
        same pid; `by`: the pid of the process that writes the heartbeat; `beat`: its number; `every`: the interval to
        the next one (s); `step` and the values of `usage`.
    """
    subject = os.getpid() if pid is None else pid
    return {
        "at": round(time.time(), 3),
        "up": round(time.monotonic(), 3),
        "host": platform.node(),
        "boot": boot_id(),
        "pid": subject,
        "began": _process_state(subject)[1],
        "by": os.getpid(),
        "beat": count,
        "every": HEARTBEAT_SECONDS,
        "step": step,
        **(usage or {}),
    }


def whereabouts(heartbeat: Mapping[str, Any]) -> Whereabouts:
    """Return the state of the process behind a heartbeat, as far as this machine can tell. Never raises.

    A heartbeat with missing or malformed values counts as `gone`.
    """
    try:
        float(heartbeat["at"])
        if heartbeat.get("boot") != boot_id() or heartbeat.get("host") != platform.node():
            return "elsewhere"
        pid = int(heartbeat["pid"])
        state, began = _process_state(pid)
        # The system reuses the pid of a process that has ended.
        if began is None or abs(began - float(heartbeat["began"])) >= 2:
            return "gone"
        # A shell only waits for the command that computes.
        return "stopped" if state == "running" and _is_shell(pid) and is_stopped(pid) else state
    except (KeyError, TypeError, ValueError, OverflowError):
        return "gone"


def _process_state(pid: int) -> tuple[Whereabouts, float | None]:
    import psutil

    try:
        process = psutil.Process(pid)
        status = process.status()
        if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return "gone", None
        stopped = status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        return "stopped" if stopped else "running", _seconds_after_boot(pid) or process.create_time()
    except (psutil.Error, ValueError, OverflowError):
        return "gone", None


def _is_shell(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).name() in SHELLS
    except psutil.Error:
        return False


def _seconds_after_boot(pid: int) -> float | None:
    """Return when a process started, on Linux. psutil's value depends on the wall clock and changes when it is set."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def is_stopped(pid: int) -> bool:
    """Return whether a process of this machine, or a descendant of it, is suspended (SIGSTOP, Ctrl-Z, a debugger)."""
    import psutil

    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return False
    return any(_process_state(member)[0] == "stopped" for member in family)


def dead_after(heartbeat: Mapping[str, Any]) -> float:
    """Return after how many seconds without a further heartbeat the process counts as dead: six intervals."""
    return _INTERVALS_UNTIL_DEAD * _interval(heartbeat)


def _interval(heartbeat: Mapping[str, Any]) -> float:
    every = heartbeat.get("every")
    return _within_bounds(every) if isinstance(every, int | float) else HEARTBEAT_SECONDS


def age(heartbeat: Mapping[str, Any], now: float) -> float:
    """Return the seconds since a heartbeat, negative when it is from after `now`.

    On the heartbeat's own machine the monotonic clock counts.

    Args:
        heartbeat: The content of a heartbeat.
        now: The time in seconds since 1970.

    Raises:
        KeyError, TypeError, ValueError: The heartbeat lacks its time.
    """
    if heartbeat.get("boot") == boot_id() and "up" in heartbeat:
        return time.monotonic() - float(heartbeat["up"])
    return now - float(heartbeat["at"])


def is_alive(heartbeat: Mapping[str, Any], now: float) -> bool:
    """Return whether the process behind a heartbeat is alive.

    On its own machine the process is examined. Elsewhere the age of the heartbeat decides, as for a suspended process:
    it is unknown when it will continue.

    Args:
        heartbeat: The content of a heartbeat.
        now: The time in seconds since 1970.
    """
    where = whereabouts(heartbeat)
    if where in ("elsewhere", "stopped"):
        return age(heartbeat, now) < dead_after(heartbeat)
    return where == "running"


@dataclass
class _Observation:
    """A heartbeat, since when it has not changed, and when it was last read (s, monotonic clock)."""

    heartbeat: Mapping[str, Any]
    since: float
    read_at: float
    dead: bool = False


class Watch:
    """Observe the heartbeats of runs on other machines, by this process's monotonic clock.

    The clocks of two machines may differ and may be set, so the time in a heartbeat proves nothing alone. A run counts
    as dead when its heartbeat did not change during `dead_after` seconds of observation. When the heartbeat is already
    that old by its own time, 2.5 intervals of observation suffice. In doubt a run counts as alive.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._observations: dict[str, _Observation] = {}

    def is_alive(self, run_id: str, heartbeat: Mapping[str, Any]) -> bool:
        """Return whether the process behind a run's newest heartbeat is alive. To be called repeatedly."""
        now = self._wall_clock()
        if whereabouts(heartbeat) != "elsewhere":
            return is_alive(heartbeat, now)
        moment, every = self._clock(), _interval(heartbeat)
        seen = self._observations.get(run_id)
        # A gap between two reads (the store was down, this process was suspended) proves nothing: observe anew.
        gap = seen is not None and not seen.dead and moment - seen.read_at > 2 * max(every, HEARTBEAT_SECONDS)
        if seen is None or seen.heartbeat != heartbeat or gap:
            seen = self._observations[run_id] = _Observation(dict(heartbeat), moment, moment)
        seen.read_at = moment
        silent = moment - seen.since
        old = age(heartbeat, now) >= dead_after(heartbeat)
        seen.dead = seen.dead or silent >= dead_after(heartbeat) or (old and silent >= _INTERVALS_WATCHED * every)
        return not seen.dead

    def doubtful(self, run_id: str, heartbeat: Mapping[str, Any]) -> float | None:
        """Return for how many more seconds a run that looks dead must be observed, None when its state is certain."""
        seen = self._observations.get(run_id)
        if seen is None or seen.dead or seen.heartbeat != heartbeat:
            return None
        if age(heartbeat, self._wall_clock()) < dead_after(heartbeat):
            return None
        return max(0.0, _INTERVALS_WATCHED * _interval(heartbeat) - (self._clock() - seen.since))
