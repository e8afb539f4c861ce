"""What a person is told while something goes on: log messages at a terminal, and how far a loop is.

The package speaks through `logging` only, below the logger `mlflow_plugin`. The command line, the backends and
`start_phase` attach the handler of this module, unless the application has set up logging by itself; everybody else
hears nothing. To silence it: `logging.getLogger("mlflow_plugin").setLevel("ERROR")`.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import TypeVar

from mlflow_plugin.format import describe_duration

T = TypeVar("T")
_EVERY_SECONDS_TERMINAL = 0.2
_EVERY_SECONDS_FILE = 5.0
_EVERY_SECONDS_SILENT = 10.0

_logger = logging.getLogger(__name__)
_package_logger = logging.getLogger("mlflow_plugin")


class TerminalHandler(logging.Handler):
    """Write one line a message to standard error, at once, so that it is seen over SSH and in a log file too.

    Errors begin with `mlflow-phases:`, everything else with `[phases]`; a text of several lines is written as it is.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.levelno >= logging.ERROR:
            text = f"mlflow-phases: {text}"
        elif not text.startswith("\n"):
            text = f"[phases] {text}"
        # The terminal may have been closed, and a signal handler may interrupt a line: the work goes on.
        with suppress(OSError, RuntimeError, ValueError):
            print(text, file=sys.stderr, flush=True)


def attach_terminal_handler() -> None:
    """Show the package's messages at the terminal, unless the application shows them already.

    A level that the application has set for the logger `mlflow_plugin` stays.
    """
    if _package_logger.handlers or (_package_logger.isEnabledFor(logging.INFO) and _package_logger.hasHandlers()):
        return
    _package_logger.addHandler(TerminalHandler())
    # MLflow's database migrations give the root logger a handler, which would repeat every warning.
    _package_logger.propagate = False
    if _package_logger.level == logging.NOTSET:
        _package_logger.setLevel(logging.INFO)


def leave_talking_to_others() -> None:
    """Silence this process except for errors: one of several processes that do the same tells the person."""
    _package_logger.setLevel(logging.ERROR)


@contextmanager
def said_now_and_then(describe: Callable[[], str], first_seconds: float = 2.0) -> Iterator[None]:
    """Log what `describe` returns after two seconds and every ten from then on, for work that tells nothing itself."""
    ended = threading.Event()

    def keep_saying() -> None:
        pause = first_seconds
        while not ended.wait(pause):
            _logger.info(describe())
            pause = _EVERY_SECONDS_SILENT

    thread = threading.Thread(target=keep_saying, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Progress:
    """Show how far a loop of `total` steps is, at most every few seconds: in place at a terminal, else as log lines."""

    def __init__(self, description: str, total: int | None, done: int = 0) -> None:
        self.description, self.total, self.done = description, total, done
        self._first = done
        self._began = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._wrote = False

    def advance(self, remark: str = "") -> None:
        """Count one more step as done. `remark` is shown behind the count."""
        self.done += 1
        every = _EVERY_SECONDS_TERMINAL if self._terminal else _EVERY_SECONDS_FILE
        now = time.monotonic()
        if now - self._said >= every and _logger.isEnabledFor(logging.INFO):
            self._said = now
            self._write(self._line(now, remark))

    def _line(self, now: float, remark: str) -> str:
        elapsed = now - self._began
        text = f"{self.description}: {self.done}"
        if self.total:
            left = elapsed / max(1, self.done - self._first) * (self.total - self.done)
            text += f"/{self.total} ({100 * self.done // self.total}%), about {describe_duration(left)} left"
        return f"{text}, {describe_duration(elapsed)} so far{f', {remark}' if remark else ''}"

    def _write(self, line: str) -> None:
        if not self._terminal:
            _logger.info(line)
            return
        self._wrote = True
        with suppress(OSError):
            print(f"\r[phases] {line}\x1b[K", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line that was renewed in place."""
        if self._wrote:
            with suppress(OSError):
                print(file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Yield the items and show how far the loop is."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    meter = Progress(description or "working", total)
    try:
        for item in items:
            yield item
            meter.advance()
    finally:
        meter.close()
