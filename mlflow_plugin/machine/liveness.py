"""Is a run alive? RUNNING in the store does not mean so: a heartbeat tells, and on the same machine the process
itself.
"""

import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

_logger = logging.getLogger(__name__)


BEAT_VARIABLE = "MLFLOW_PHASES_BEAT_SECONDS"
_BEATS_UNTIL_DEAD = 6
_BEATS_WATCHED = 2.5
_SHORTEST_BEAT, _LONGEST_BEAT = 0.05, 600.0

Where = Literal["running", "stopped", "gone", "elsewhere"]


def _beat_seconds(text: str | None) -> float:
    """The interval that the environment asks for, within bounds; 10 s when it asks for none or for nonsense."""
    try:
        return _within_bounds(float(text or 10.0))
    except ValueError:
        _logger.info(f"{BEAT_VARIABLE}={text!r} is no number of seconds; hearts beat every 10 s")
        return 10.0


def _within_bounds(seconds: float) -> float:
    return max(_SHORTEST_BEAT, min(_LONGEST_BEAT, seconds))


BEAT_SECONDS = _beat_seconds(os.environ.get(BEAT_VARIABLE))
DEAD_AFTER_SECONDS = _BEATS_UNTIL_DEAD * BEAT_SECONDS


@lru_cache
def boot_id() -> str:
    """Tells one boot of one machine from all others, and a container that numbers its processes anew from its host."""
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
    """What is said of a living process, this one unless a `pid` is given.

    `at` is the time (s since 1970), `up` the same by a clock that is never set (s since this machine started), `every`
    the interval to the next beat (s), `beat` counts them; `by` is the process that says so; `began` tells the process
    from others that are given its number later.
    """
    about = os.getpid() if pid is None else pid
    return {
        "at": round(time.time(), 3),
        "up": round(time.monotonic(), 3),
        "host": platform.node(),
        "boot": boot_id(),
        "pid": about,
        "began": _process_state(about)[1],
        "by": os.getpid(),
        "beat": count,
        "every": BEAT_SECONDS,
        "step": step,
        **(usage or {}),
    }


def whereabouts(beat: Mapping[str, Any]) -> Where:
    """What became of the process behind a heartbeat, as far as this machine can tell. Never raises."""
    try:
        float(beat["at"])
        if beat.get("boot") != boot_id() or beat.get("host") != platform.node():
            return "elsewhere"
        state, began = _process_state(int(beat["pid"]))
        # A process id is given to another process once its own has ended.
        return state if began is not None and abs(began - float(beat["began"])) < 2 else "gone"
    except (KeyError, TypeError, ValueError, OverflowError):
        return "gone"


def _process_state(pid: int) -> tuple[Where, float | None]:
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


def _seconds_after_boot(pid: int) -> float | None:
    """When a process began, on Linux. What psutil says is a time of the wall clock and moves when that is set."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return int(fields[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine, or one that it started, stands still (SIGSTOP, Ctrl-Z, a debugger)."""
    import psutil

    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return False
    return any(_process_state(member)[0] == "stopped" for member in family)


def dead_after(beat: Mapping[str, Any]) -> float:
    """Seconds of silence after which a heart that beat like this one counts as dead."""
    return _BEATS_UNTIL_DEAD * _interval(beat)


def _interval(beat: Mapping[str, Any]) -> float:
    every = beat.get("every")
    return _within_bounds(every) if isinstance(every, int | float) else BEAT_SECONDS


def age(beat: Mapping[str, Any], now: float) -> float:
    """Seconds since a heartbeat; on its own machine by the clock that is never set. Negative when it is ahead of `now`.

    Raises KeyError, TypeError or ValueError for a heartbeat that says too little.
    """
    if beat.get("boot") == boot_id() and "up" in beat:
        return time.monotonic() - float(beat["up"])
    return now - float(beat["at"])


def is_alive(beat: Mapping[str, Any], now: float) -> bool:
    """Whether the process behind a heartbeat lives: asked directly on its own machine, else by the beat's age.

    One that stands still for longer than a heart may be silent counts as dead: nobody knows whether it goes on.
    """
    where = whereabouts(beat)
    if where in ("elsewhere", "stopped"):
        return age(beat, now) < dead_after(beat)
    return where == "running"


@dataclass
class _Seen:
    beat: Mapping[str, Any]
    since: float
    looked: float
    dead: bool = False


class Watch:
    """What this process has seen of the hearts of runs on other machines, by its own clock that is never set.

    Clocks of two machines may differ and be set, so the time in a heartbeat alone proves nothing: a run counts as dead
    when its beat was watched without a change for `dead_after`, or, if it is that old by its own time too, for 2.5
    intervals. Not knowing is taken for life.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._wall_clock = clock, wall_clock
        self._seen: dict[str, _Seen] = {}

    def is_alive(self, run_id: str, beat: Mapping[str, Any]) -> bool:
        """Whether the process behind a run's heartbeat lives, as far as is known by now. Ask again and again."""
        now = self._wall_clock()
        if whereabouts(beat) != "elsewhere":
            return is_alive(beat, now)
        moment, every = self._clock(), _interval(beat)
        seen = self._seen.get(run_id)
        # Time in which nobody looked (the store was away, this process stood still) proves nothing.
        missed = seen is not None and not seen.dead and moment - seen.looked > 2 * max(every, BEAT_SECONDS)
        if seen is None or seen.beat != beat or missed:
            seen = self._seen[run_id] = _Seen(dict(beat), moment, moment)
        seen.looked = moment
        silent = moment - seen.since
        old = age(beat, now) >= dead_after(beat)
        seen.dead = seen.dead or silent >= dead_after(beat) or (old and silent >= _BEATS_WATCHED * every)
        return not seen.dead

    def doubtful(self, run_id: str, beat: Mapping[str, Any]) -> float | None:
        """Seconds for which a run of another machine that looks dead is still to be watched; None when in no doubt."""
        seen = self._seen.get(run_id)
        if seen is None or seen.dead or seen.beat != beat or age(beat, self._wall_clock()) < dead_after(beat):
            return None
        return max(0.0, _BEATS_WATCHED * _interval(beat) - (self._clock() - seen.since))
