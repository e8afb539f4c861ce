"""Progress that can be read at a terminal, over SSH and in a log file: one line, renewed in place only where that
works.
"""

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


_left_to_others = threading.Event()


def leave_talking_to_others() -> None:
    """From now on this process says nothing here: of several that do the same one tells it."""
    _left_to_others.set()


def say(text: str) -> None:
    """One line to the person, at once, also over SSH and in a log file."""
    if _left_to_others.is_set():
        return
    with suppress(OSError):  # The terminal may have been closed; the work goes on.
        print(f"[phases] {text}", file=sys.stderr, flush=True)


@contextmanager
def said_now_and_then(describe: Callable[[], str], first_seconds: float = 2.0) -> Iterator[None]:
    """Says how far something is that tells nothing by itself: after two seconds, and every ten from then on."""
    ended = threading.Event()

    def keep_saying() -> None:
        pause = first_seconds
        while not ended.wait(pause):
            say(describe())
            pause = _EVERY_SECONDS_SILENT

    thread = threading.Thread(target=keep_saying, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Progress:
    """Says how far a loop of `total` steps is, at most every few seconds."""

    def __init__(self, description: str, total: int | None, done: int = 0) -> None:
        self.description, self.total, self.done = description, total, done
        self._first = done
        self._began = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._wrote = False

    def advance(self, remark: str = "") -> None:
        self.done += 1
        every = _EVERY_SECONDS_TERMINAL if self._terminal else _EVERY_SECONDS_FILE
        now = time.monotonic()
        if now - self._said >= every:
            self._said = now
            self._write(self._line(now, remark))

    def _line(self, now: float, remark: str) -> str:
        elapsed = now - self._began
        text = f"[phases] {self.description}: {self.done}"
        if self.total:
            left = elapsed / max(1, self.done - self._first) * (self.total - self.done)
            text += f"/{self.total} ({100 * self.done // self.total}%), about {describe_duration(left)} left"
        return f"{text}, {describe_duration(elapsed)} so far{f', {remark}' if remark else ''}"

    def _write(self, line: str) -> None:
        if _left_to_others.is_set():
            return
        self._wrote = True
        with suppress(OSError):
            print(
                f"\r{line}\x1b[K" if self._terminal else line,
                end="" if self._terminal else "\n",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        if self._wrote and self._terminal:
            with suppress(OSError):
                print(file=sys.stderr, flush=True)


def progress(items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
    """Yields the items, saying how far the loop is."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    meter = Progress(description or "working", total)
    try:
        for item in items:
            yield item
            meter.advance()
    finally:
        meter.close()
