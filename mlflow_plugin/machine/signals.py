"""Turn signals and timeouts into exceptions, so that a run can save a checkpoint and be recorded as killed.

Handled are SIGTERM, Ctrl-C (SIGINT), a cluster's warning (SIGUSR1), a closed terminal (SIGHUP) and a timeout. The
exception is raised at once, or at the end of the current step while a loop saves checkpoints.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from mlflow_plugin.machine.ranks import process_count

_logger = logging.getLogger(__name__)

GRACE_SECONDS = "MLFLOW_PHASES_GRACE_SECONDS"
"""Environment variable: how many seconds a loop may take to finish its step after SIGTERM or a timeout. The default
is 25, because clusters kill a process 30 seconds after SIGTERM."""
_SAME_SIGNAL_SECONDS = 10.0


class Terminated(SystemExit):
    """A signal asked this process to end. The text names the cause; `number` is the signal to forward to a child."""

    number = signal.SIGTERM


class Warned(Terminated):
    """A cluster has announced that it will kill this process soon."""

    number = signal.SIGUSR1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, raised at the end of a step."""


class Termination:
    """Handle the signals that end a process.

    While deferred, a signal waits in `pending` for the end of the step. A second Ctrl-C is raised at once. A SIGTERM
    within 10 s of a first signal is ignored: MLflow sends one to a process that Ctrl-C has already reached, and it must
    not interrupt the save that is running then.

    Args:
        installed: Whether signal handlers are installed (only in the main thread).

    Attributes:
        reason: The text of the next `Terminated`.
        pending: The exception to raise at the end of the step.
    """

    def __init__(self, *, installed: bool) -> None:
        self.reason = "terminated by a signal"
        self.pending: BaseException | None = None
        self._installed = installed
        self._deferred = False
        self._first = float("-inf")
        self._interrupts = 0
        self._warned = False
        self._in_step = True

    def defer(self, deferred: bool = True) -> None:
        """Set whether a loop checks `pending` after each step from now on."""
        self._deferred = deferred

    @contextmanager
    def step_ended(self) -> Iterator[None]:
        """Suspend the time limit of a step inside the block, so that a checkpoint that is saved there is completed."""
        self._in_step = False
        try:
            yield
        finally:
            self._in_step = True

    def obey_at_once(self) -> None:
        """Stop deferring signals and raise the pending exception, if there is one."""
        self._deferred = False
        if pending := self.take():
            raise pending

    def take(self) -> BaseException | None:
        """Return the pending exception and clear it."""
        pending, self.pending = self.pending, None
        return pending

    def failed(self) -> None:
        """Defer further signals while a failed run is recorded, when several processes compute.

        torchrun sends SIGTERM when another of its processes has ended. That must not interrupt the recording. In a
        single process signals keep their meaning.
        """
        if process_count() == 1:
            return
        self.take()
        self.defer()
        self._first = time.monotonic()

    def on_terminate(self, number: int, frame: FrameType | None) -> None:
        if self.pending is not None and not self._deferred:
            self.obey_at_once()
        if not self._recent():
            self._end(Terminated(self.reason), limited=True)

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self._recent()
        self._interrupts += 1
        if self._interrupts > 2:
            os._exit(130)  # The third Ctrl-C does not wait for the run to be recorded.
        if self._interrupts > 1 or not self._deferred:
            raise KeyboardInterrupt
        self._end(Interrupted("interrupted from the keyboard"), limited=False)

    def on_warning(self, number: int, frame: FrameType | None) -> None:
        if not self._warned:
            self._warned = True
            self._end(Warned("warned by SIGUSR1 that its time is nearly over"), limited=False)

    def on_hang_up(self, number: int, frame: FrameType | None) -> None:
        if not self._warned:
            self._warned = True
            self._end(Terminated("its terminal was closed (SIGHUP)"), limited=False)

    def raise_soon(self) -> None:
        """Raise the pending exception in the main thread shortly. A generator that ends cannot raise it itself."""
        if self.pending is not None:
            threading.Timer(0.01, self._expire).start()

    def _end(self, exception: BaseException, *, limited: bool) -> None:
        if not self._deferred:
            raise exception
        if self.pending is None or isinstance(exception, KeyboardInterrupt):
            self.pending = exception
            again = "; press Ctrl-C again to exit at once" if isinstance(exception, KeyboardInterrupt) else ""
            _logger.info(f"{exception}: saving a checkpoint after this step{again}")
        if limited:
            timer = threading.Timer(_grace_seconds(), self._expire)
            timer.daemon = True
            timer.start()

    def _expire(self) -> None:
        """Raise the pending exception now: the step did not end in time."""
        if self.pending is not None and self._in_step:
            self._deferred, self._first = False, float("-inf")
            os.kill(os.getpid(), signal.SIGTERM)

    def _recent(self) -> bool:
        now = time.monotonic()
        recent = now - self._first < _SAME_SIGNAL_SECONDS
        self._first = self._first if recent else now
        return recent

    @contextmanager
    def after(self, seconds: float | None, reason: str) -> Iterator[None]:
        """End the block with `Terminated(reason)` after that many seconds, None for no limit."""
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


def _grace_seconds() -> float:
    try:
        return max(0.0, float(os.environ.get(GRACE_SECONDS, "25")))
    except ValueError:
        return 25.0


@contextmanager
def orderly_termination() -> Iterator[Termination]:
    """Let SIGTERM, SIGUSR1 and SIGHUP raise Terminated, and Ctrl-C KeyboardInterrupt, inside the block.

    Python delivers signals only to the main thread. In another thread this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Termination(installed=False)
        return
    termination = Termination(installed=True)
    handlers = {
        signal.SIGTERM: termination.on_terminate,
        signal.SIGINT: termination.on_interrupt,
        signal.SIGUSR1: termination.on_warning,
        signal.SIGHUP: termination.on_hang_up,
    }
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        del handlers[signal.SIGHUP]  # nohup
    with signal_handlers(handlers):
        yield termination


@contextmanager
def signal_handlers(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """Install signal handlers inside the block, in the main thread. Forked processes get the previous ones."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    _replaced_handlers.append(before)
    try:
        yield
    finally:
        _replaced_handlers.remove(before)
        for number, former in before.items():
            # None is a handler that was not installed from Python. It cannot be restored.
            signal.signal(number, signal.SIG_DFL if former is None else former)


_replaced_handlers: list[dict[signal.Signals, Any]] = []
"""The handlers that the installed ones have replaced, outermost block first."""


def _reset_handlers_in_child() -> None:
    """Reset the handlers in a forked process, such as a worker of a DataLoader or a Pool.

    SIGTERM ends it, because that is how its parent ends it. Signals that a terminal or a cluster sends to all processes
    are ignored: the parent handles them and needs the worker to finish the step.
    """
    if _replaced_handlers:
        before = _replaced_handlers[0]
        signal.signal(signal.SIGTERM, before[signal.SIGTERM] or signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, _ignore)  # Unlike SIG_IGN, this is not inherited by a program that it executes.


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


os.register_at_fork(after_in_child=_reset_handlers_in_child)
