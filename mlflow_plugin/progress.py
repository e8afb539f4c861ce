"""Show a person what is happening: log messages at a terminal, and the progress of a loop.

The package speaks through `logging` only, below the logger `mlflow_plugin`. What it says comes in part from a store
that anybody can write to: `MessageFilter` goes before every other handler. The command line, the backends and
`start_phase` attach the handler of this module, unless the application has set up logging by itself. Otherwise the
package is silent. To silence it everywhere: `logging.getLogger("mlflow_plugin").setLevel("ERROR")`.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from mlflow_plugin.format import approximately, describe_duration
from mlflow_plugin.markdown import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

T = TypeVar("T")
_EVERY_SECONDS_TERMINAL = 0.2
_EVERY_SECONDS_FILE = 5.0
_EVERY_SECONDS_SILENT = 10.0
_BAR_WIDTH = 24

_logger = logging.getLogger(__name__)
_package_logger = logging.getLogger("mlflow_plugin")


class MessageFilter(logging.Handler):
    """Take the characters that a terminal obeys out of every message, before other handlers see it.

    A handler and not a filter: one of the package's logger sees the messages of all loggers below it, a filter does
    not. The handlers of an application stand above that logger, so that they come later.
    """

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = printable(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = printable(_formatter.formatException(record.exc_info))
        if not _other_handlers() and logging.lastResort and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)  # As without this handler.


_formatter = logging.Formatter()


def filter_messages() -> None:
    """Put the `MessageFilter` before the handlers of the package's logger. Called when the package is imported."""
    if not any(isinstance(one, MessageFilter) for one in _package_logger.handlers):
        _package_logger.handlers.insert(0, MessageFilter())


def _other_handlers() -> list[logging.Handler]:
    """Return the handlers that the messages of the package reach, without the `MessageFilter`."""
    handlers, logger = list(_package_logger.handlers), _package_logger
    while logger.propagate and logger.parent:
        logger = logger.parent
        handlers += logger.handlers
    return [one for one in handlers if not isinstance(one, MessageFilter)]


class TerminalHandler(logging.Handler):
    """Write one line a message to standard error, at once, so that it is seen over SSH and in a log file too.

    Errors begin with `mlflow-phases:`, warnings with `[phases] warning:`, other messages with `[phases]`. A text that
    begins with a line break is a table and is written as it is.
    """

    def emit(self, record: logging.LogRecord) -> None:
        text = printable(record.getMessage())
        if record.levelno >= logging.ERROR:
            text = f"mlflow-phases: {text}"
        elif record.levelno >= logging.WARNING:
            text = f"[phases] warning: {text}"
        elif not text.startswith("\n"):
            text = f"[phases] {text}"
        # The terminal may have been closed, and a signal handler may interrupt a line: the work must continue.
        with suppress(OSError, RuntimeError, ValueError):
            if not _bars.print_above(text):
                print(text, file=sys.stderr, flush=True)


def attach_terminal_handler() -> None:
    """Show the package's messages at the terminal, unless the application shows them already.

    A level that the application has set for the logger `mlflow_plugin` stays.
    """
    filter_messages()
    own = [one for one in _package_logger.handlers if not isinstance(one, MessageFilter)]
    if own or (_package_logger.isEnabledFor(logging.INFO) and _other_handlers()):
        return
    _package_logger.addHandler(TerminalHandler())
    # MLflow's database migrations give the root logger a handler, which would repeat every warning.
    _package_logger.propagate = False
    if _package_logger.level == logging.NOTSET:
        _package_logger.setLevel(logging.INFO)


def silence() -> None:
    """Silence this process except for errors: of several processes with the same work only one reports it."""
    _package_logger.setLevel(logging.ERROR)


@contextmanager
def report_periodically(describe: Callable[[], str], first_seconds: float = 2.0) -> Iterator[None]:
    """Log a description of the work inside the block periodically, for work that reports nothing by itself.

    Args:
        describe: Returns the line to log. It is called in a thread of its own.
        first_seconds: Seconds until the first line. From then on there is one every ten seconds.
    """
    ended = threading.Event()

    def report() -> None:
        pause = first_seconds
        while not ended.wait(pause):
            _logger.info(describe())
            pause = _EVERY_SECONDS_SILENT

    thread = threading.Thread(target=report, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Progress:
    """Show the progress of a loop: as a bar at a terminal, else as one log line every five seconds.

    A loop that ends within the first interval shows nothing.

    Args:
        description: The name of the loop.
        total: The number of steps, or None if it is unknown.
        done: The number of steps that an interrupted run has already done.
    """

    def __init__(self, description: str, total: int | None, done: int = 0) -> None:
        self.description, self.total, self.done = printable(description), total, done
        self._first = done
        self._began = self._shown_at = time.monotonic()
        self._remark = ""
        self._terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def advance(self, remark: str = "") -> None:
        """Count one more step as done. `remark` is shown behind the count."""
        self.done += 1
        self._remark = printable(remark)
        every = _EVERY_SECONDS_TERMINAL if self._terminal else _EVERY_SECONDS_FILE
        now = time.monotonic()
        if now - self._shown_at < every or not _logger.isEnabledFor(logging.INFO):
            return
        self._shown_at = now
        if self._terminal:
            with suppress(OSError):
                _bars.draw(self)
        else:
            _logger.info(f"{self.description}: {self.state()}")

    def state(self) -> str:
        """Return the count, the remaining and the elapsed time, and the latest remark."""
        elapsed = time.monotonic() - self._began
        parts = [f"{self.done}"]
        if self.total:
            parts = [f"{self.done}/{self.total} ({100 * self.done // self.total}%)"]
            if self.done < self.total:
                left = elapsed / max(1, self.done - self._first) * (self.total - self.done)
                parts.append(f"{approximately(left)} left")
        parts.append(f"{describe_duration(elapsed)} so far")
        return ", ".join([*parts, self._remark] if self._remark else parts)

    def close(self) -> None:
        """End the bar. The outermost bar stays on the terminal with its last state."""
        if self._terminal:
            with suppress(OSError):
                _bars.close(self)


class _Bars:
    """The bars of the running loops. rich draws the innermost, on one line.

    To redraw a taller display rich moves the cursor up, over the lines that the program has printed meanwhile. If rich
    redirected the program's output instead, the bars of tqdm would come out as a line each.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tasks: dict[Progress, TaskID] = {}
        self._display: RichProgress | None = None
        self._process = 0

    def draw(self, bar: Progress) -> None:
        with self._lock:
            if self._process != os.getpid():
                # A forked process must not touch the display of its parent.
                self._tasks, self._display, self._process = {}, None, os.getpid()
            if self._display is None:
                self._display = _start_display()
            if bar not in self._tasks:
                self._tasks[bar] = self._display.add_task(bar.description, total=bar.total, visible=False, state="")
            self._refresh(self._display)

    def close(self, bar: Progress) -> None:
        with self._lock:
            if self._display is None or self._process != os.getpid() or bar not in self._tasks:
                return
            if len(self._tasks) > 1:
                self._display.remove_task(self._tasks.pop(bar))
                return
            display, self._display = self._display, None
            try:
                self._refresh(display)
                display.stop()
            finally:
                self._tasks = {}

    def _refresh(self, display: "RichProgress") -> None:
        innermost = list(self._tasks)[-1]
        for bar, task in self._tasks.items():
            display.update(task, completed=bar.done, state=bar.state(), visible=bar is innermost)
        display.refresh()

    def print_above(self, text: str) -> bool:
        """Print a text above the bar. Return False if no bar is drawn on the present standard error."""
        display = self._display
        if display is None or self._process != os.getpid() or display.console.file is not sys.stderr:
            return False
        display.console.print(text, soft_wrap=True)
        return True


def _start_display() -> "RichProgress":
    # Late, for `import mlflow_plugin` must stay light.
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    display = RichProgress(
        TextColumn("[phases] {task.description}", markup=False),
        BarColumn(_BAR_WIDTH, complete_style="cyan", finished_style="green"),
        TextColumn("{task.fields[state]}", markup=False),
        console=Console(file=sys.stderr, highlight=False, markup=False, emoji=False),
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    display.start()
    # rich hides the cursor, which a killed process could not bring back.
    display.console.show_cursor(True)
    return display


_bars = _Bars()


def progress(items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Yield the items and show the progress of the loop. `total` is needed for items without a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    bar = Progress(description or "working", total)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()
