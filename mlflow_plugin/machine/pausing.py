"""Pauses that end when the process is told to, also in a thread, which no signal reaches."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mlflow_plugin.machine.signals import Terminated

__all__ = ["Stop", "pause", "stopped_by"]


class Stop:
    """Tells threads to end, with the reason and the signal to forward to their children."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason, self._number = "", signal.SIGTERM

    def set(self, reason: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Let every pause of the threads that this stops raise Terminated from now on."""
        self._reason, self._number = reason, number
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Wait so many seconds. Raises Terminated as soon as this is set."""
        if self._event.wait(seconds):
            error = Terminated(self._reason)
            error.number = self._number
            raise error


_stop: ContextVar[Stop | None] = ContextVar("stop", default=None)


@contextmanager
def stopped_by(stop: Stop) -> Iterator[None]:
    """Let `stop` end the pauses of this thread inside the block."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def pause(seconds: float) -> None:
    """Sleep. Raises Terminated in a thread that is told to end."""
    stop = _stop.get()
    if stop is None:
        time.sleep(seconds)
    else:
        stop.wait(seconds)
