"""An orderly end: SIGTERM, Ctrl-C, a cluster's warning (SIGUSR1), a closed terminal (SIGHUP) and a timeout are raised
where the run can still be recorded as killed; while a loop keeps checkpoints, at the end of a step.
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
"""Environment variable: how long after SIGTERM or a timeout a loop may take to end its step; 25 by default, since
clusters kill 30 seconds after it."""
_SAME_SIGNAL_SECONDS = 10.0


class Terminated(SystemExit):
    """This process was told to end; the text says by what, `number` is the signal to hand on to a child."""

    number = signal.SIGTERM


class Warned(Terminated):
    """A cluster has announced that it will end this process before long."""

    number = signal.SIGUSR1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, obeyed at the end of a step."""


class Termination:
    """What signals lead to. While deferred they wait in `pending` for the end of a step, and a second Ctrl-C is raised
    at once. A SIGTERM soon after a first signal is passed over: MLflow sends one to the process that Ctrl-C has already
    reached, and it must not cut short what is being saved then.
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
        """Whether from now on a loop looks at `pending` after each step."""
        self._deferred = deferred

    @contextmanager
    def step_ended(self) -> Iterator[None]:
        """Inside the block no step runs that could take too long: a checkpoint that is saved there is not cut short."""
        self._in_step = False
        try:
            yield
        finally:
            self._in_step = True

    def obey_at_once(self) -> None:
        """No loop looks at `pending` any more. Raises it when there is one."""
        self._deferred = False
        if pending := self.take():
            raise pending

    def take(self) -> BaseException | None:
        """What is pending, for who obeys it now."""
        pending, self.pending = self.pending, None
        return pending

    def failed(self) -> None:
        """The run has failed by itself: a SIGTERM on top of that, which torchrun sends when another of its processes
        has ended, must not cut short what is being recorded. In a process by itself a signal says what it always says.
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
            os._exit(130)  # Even what is being recorded is not waited for.
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
        """Raises what is pending in the main thread, from without: where a loop ends nothing can be raised."""
        if self.pending is not None:
            threading.Timer(0.01, self._expire).start()

    def _end(self, how: BaseException, *, limited: bool) -> None:
        if not self._deferred:
            raise how
        if self.pending is None or isinstance(how, KeyboardInterrupt):
            self.pending = how
            again = "; Ctrl-C again leaves at once" if isinstance(how, KeyboardInterrupt) else ""
            _logger.info(f"{how}: saving a checkpoint after this step{again}")
        if limited:
            timer = threading.Timer(_grace(), self._expire)
            timer.daemon = True
            timer.start()

    def _expire(self) -> None:
        """The step did not end in time."""
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


def _grace() -> float:
    try:
        return max(0.0, float(os.environ.get(GRACE_SECONDS, "25")))
    except ValueError:
        return 25.0


@contextmanager
def orderly_termination() -> Iterator[Termination]:
    """Inside the block SIGTERM, SIGUSR1 and SIGHUP raise Terminated, and Ctrl-C KeyboardInterrupt. Signals reach only
    the main thread; in another nothing is changed.
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
    with handled(handlers):
        yield termination


@contextmanager
def handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    """These handlers inside the block, in the main thread; processes that it forks get those of before."""
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    _in_force.append(before)
    try:
        yield
    finally:
        _in_force.remove(before)
        for number, former in before.items():
            # None stands for one that was not set from Python, which cannot be put back.
            signal.signal(number, signal.SIG_DFL if former is None else former)


_in_force: list[dict[signal.Signals, Any]] = []
"""The handlers that were there before those that are in force now."""


def _leave_to_parent() -> None:
    """In a forked process, such as a worker of a DataLoader or a Pool: SIGTERM ends it as ever, for that is how its
    parent ends it. What a terminal or a cluster sends to all of them is its parent's to obey, which still needs it to
    end the step.
    """
    if _in_force:
        before = _in_force[0]
        signal.signal(signal.SIGTERM, before[signal.SIGTERM] or signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, _pass_over)  # A program that it starts does not take_over this, unlike SIG_IGN.


def _pass_over(number: int, frame: FrameType | None) -> None:
    pass


os.register_at_fork(after_in_child=_leave_to_parent)
