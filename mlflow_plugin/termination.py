"""An orderly end: SIGTERM, Ctrl-C and a timeout are raised where the run can still be recorded as killed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_GRACE_SECONDS = 10.0


class Terminated(SystemExit):
    """This process was told to end; the text says by what."""


class Termination:
    """What the signals raise. A SIGTERM soon after a first signal is passed over: MLflow sends one to the process that
    Ctrl-C has already reached, and it must not cut short what is being recorded then.
    """

    def __init__(self, *, installed: bool) -> None:
        self.reason = "terminated by a signal"
        self._installed = installed
        self._first = float("-inf")

    def on_terminate(self, number: int, frame: FrameType | None) -> None:
        if not self._recent():
            raise Terminated(self.reason)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._recent()
        raise KeyboardInterrupt

    def _recent(self) -> bool:
        now = time.monotonic()
        recent = now - self._first < _GRACE_SECONDS
        self._first = self._first if recent else now
        return recent

    @contextmanager
    def after(self, seconds: float | None, reason: str) -> Iterator[None]:
        """Ends the block after that many seconds; None is no limit."""
        if not seconds or not self._installed:
            yield
            return

        def expire() -> None:
            self.reason = reason
            os.kill(os.getpid(), signal.SIGTERM)

        timer = threading.Timer(seconds, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def orderly_termination() -> Iterator[Termination]:
    """Inside the block SIGTERM raises Terminated and Ctrl-C KeyboardInterrupt. Signals reach only the main thread; in
    another nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Termination(installed=False)
        return
    termination = Termination(installed=True)
    before = (
        signal.signal(signal.SIGTERM, termination.on_terminate),
        signal.signal(signal.SIGINT, termination.on_interrupt),
    )
    try:
        yield termination
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
