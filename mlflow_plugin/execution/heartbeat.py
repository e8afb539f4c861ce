"""A background thread that tells the tracking store that this process is alive, how far it is and how busy."""

import logging
import threading
import time
from types import TracebackType
from typing import Any, Self

from mlflow_plugin.execution.records import Records
from mlflow_plugin.format import short
from mlflow_plugin.machine.hardware import usage
from mlflow_plugin.machine.liveness import HEARTBEAT_SECONDS, is_stopped, new_heartbeat
from mlflow_plugin.store.history import phase_run

_logger = logging.getLogger(__name__)

_AT_ONCE = 12
"""Requests that may be under way at a time: MLflow's client waits for minutes before it asks a server again that was
away, and a run must not count as dead for so long."""


class Heartbeat:
    """Writes a heartbeat for a run while the block is open. A store that does not answer costs heartbeats, never the
    run.

    Attributes:
        step: How many steps are done.
        total: Of how many, where that is known.
        pid: Another process that does the work, started by this one. The heartbeats then speak of it, and end for good
            as soon as it writes its own.
        successor: The id of the run that has taken over the work, once that is known. Nothing is written for such a
            run.

    Args:
        at_once: False where a heartbeat was written a moment ago.
    """

    def __init__(self, records: Records, run_id: str, *, at_once: bool = True) -> None:
        self.records, self.run_id = records, run_id
        self._at_once = at_once
        self.total: int | None = None
        self.successor = ""
        self._step: int | None = None
        self._pid: int | None = None
        self._began = self._stepped = time.monotonic()
        self._first: tuple[int, float] | None = None
        self._silent = False
        self._count = 0
        self._busy = (time.monotonic(), 0.0)
        self._ended = threading.Event()
        self._wake = threading.Event()
        self._slots = threading.Semaphore(_AT_ONCE)
        self._thread = threading.Thread(target=self._run, name=f"heartbeat {run_id}", daemon=True)

    @property
    def step(self) -> int | None:
        return self._step

    @step.setter
    def step(self, step: int | None) -> None:
        if step == self._step:
            return
        self._step, self._stepped = step, time.monotonic()
        # Another loop has a pace of its own.
        if step is None or self._first is None or step < self._first[0]:
            self._first = None if step is None else (step, self._stepped)

    @property
    def pid(self) -> int | None:
        return self._pid

    @pid.setter
    def pid(self, pid: int) -> None:
        self._pid = pid
        # Until it is named, the run would look dead when this process is killed although that one computes.
        self._wake.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more heartbeats."""
        self._ended.set()
        self._wake.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        if not self._at_once:
            self._pause()
        while not self._ended.is_set() and not self.successor and not self._silent:
            # Nothing that a store, a driver or an odd /proc throws may end the heartbeats.
            try:
                beat = self._beat()
                if beat is not None and self._slots.acquire(blocking=False):
                    sending = threading.Thread(target=self._send, args=(beat,), name="heartbeat request", daemon=True)
                    sending.start()
                    sending.join(timeout=HEARTBEAT_SECONDS / 2)
            except Exception as error:
                _logger.warning(f"run {self.run_id}: a heartbeat was left out: {type(error).__name__}: {error}")
            self._pause()

    def _pause(self) -> None:
        self._wake.wait(HEARTBEAT_SECONDS)
        if not self._ended.is_set():
            self._wake.clear()

    def _beat(self) -> dict[str, Any] | None:
        """Return the heartbeat of now; None when the process stands still, which must not look alive."""
        if self._pid is not None and is_stopped(self._pid):
            return None
        self._count += 1
        now = time.monotonic()
        progress: dict[str, Any] = {"since_step": round(now - self._stepped, 1)}
        if self.total is not None:
            progress["total"] = self.total
        if self._first is not None and self._step is not None and self._step > self._first[0]:
            pace = (self._stepped - self._first[1]) / (self._step - self._first[0])
            progress["seconds_per_step"] = round(pace, 4)
        if (percent := self._process_percent(now)) is not None:
            progress["process_percent"] = percent
        return new_heartbeat(self._step, {**usage(), **progress}, pid=self._pid, count=self._count)

    def _process_percent(self, now: float) -> float | None:
        """Return the CPU use of the process and its children since the last heartbeat, in percent of one core."""
        spent, (before, used) = _cpu_seconds(self._pid), self._busy
        self._busy = (now, spent)
        # A child that ended takes its time along.
        return round(100 * (spent - used) / (now - before), 1) if self._count > 1 and spent >= used else None

    def _send(self, beat: dict[str, Any]) -> None:
        try:
            run = phase_run(self.records.client.get_run(self.run_id))
            if run.successor and not self.successor:
                _logger.info(f"run {run.short} was taken over by {short(run.successor)} while this process stood still")
            self.successor = run.successor
            self._silent = self._pid is not None and run.heartbeat.get("by", beat["by"]) != beat["by"]
            if not self.successor and not self._silent and not self._ended.is_set():
                self.records.heartbeat(run, beat)
        except Exception:
            # The next heartbeat tries again; a message for each would fill the log while a server is away.
            return
        finally:
            self._slots.release()


def _cpu_seconds(pid: int | None) -> float:
    """Return the CPU seconds that a process (this one by default) and its living descendants have used."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0.0
    for member in family:
        try:
            times = member.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)
