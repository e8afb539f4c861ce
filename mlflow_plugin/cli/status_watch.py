"""`mlflow-phases status --watch`: the pipeline on the screen, refreshed until q or Ctrl-C is pressed.

In a file or a pipe it prints a line whenever something changes.
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from mlflow.exceptions import MlflowException
from rich.console import Group
from rich.live import Live
from rich.text import Text

from mlflow_plugin.cli.output import say
from mlflow_plugin.cli.status_lines import changed_sentences, progress_text, state_sentences
from mlflow_plugin.cli.status_screen import FittedScreen, PrintableConsole, status_screen
from mlflow_plugin.errors import store_trouble
from mlflow_plugin.format import clock
from mlflow_plugin.markdown import printable
from mlflow_plugin.reports.views.live import live_view
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store.history import History

_PROGRESS_EVERY_SECONDS = 10.0
_QUIT_KEYS = ("q", "Q", "\x03", "\x04")  # Also Ctrl-C and Ctrl-D, as characters.


class PipelineReader:
    """Keep the views of the pipeline up to date.

    The pipeline view is costly. It is read again only when something has changed, and every `whole_every_seconds` for
    the states that only time changes.
    """

    def __init__(self, history: Callable[[], History], whole_every_seconds: float = 30.0) -> None:
        self._history, self._every = history, whole_every_seconds
        self._stamp, self._read_at = "", -whole_every_seconds
        self.pipeline: dict[str, Any] | None = None
        self.live: list[dict[str, Any]] = []
        self.error = ""

    def refresh(self) -> None:
        """Read the news. If the store does not answer, the last views stay and `error` says why."""
        try:
            history = self._history()
            live = live_view(history).to_json()
            now = time.monotonic()
            if live["stamp"] != self._stamp or now - self._read_at >= self._every:
                self.pipeline, self._stamp, self._read_at = pipeline_view(history).to_json(), live["stamp"], now
            self.live, self.error = live["running"], ""
            assert self.pipeline is not None
            self.pipeline["questions"] = live["questions"]
        except MlflowException as error:
            self.error = str(store_trouble(error))


def watch_status(history: Callable[[], History], interval: float) -> None:
    """Show the pipeline until the person ends it.

    Args:
        history: Returns the runs to show; called for each refresh.
        interval: Seconds between two refreshes.

    Raises:
        PhaseError, UsageError: The project or the experiment does not exist.
    """
    reader = PipelineReader(history)
    if _is_terminal():
        _watch_at_terminal(reader, interval)
    else:
        _watch_in_pipe(reader, interval)


def _is_terminal() -> bool:
    # Not rich's own answer: FORCE_COLOR makes that true in a pipe.
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") != "dumb"


# --- at a terminal ---


def _watch_at_terminal(reader: PipelineReader, interval: float) -> None:
    reader.refresh()
    console = PrintableConsole(file=sys.stdout, highlight=False, markup=False, emoji=False)
    # Standard error may be a file; rich must not move its lines to the screen.
    live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    with _keyboard() as pressed_key, live:
        while True:
            live.update(FittedScreen(_body(reader), _footer(interval)), refresh=True)
            if pressed_key(interval) in _QUIT_KEYS:
                break
            reader.refresh()
    # The second screen is gone; the last state stays above the prompt.
    console.print(_body(reader))


def _body(reader: PipelineReader) -> Group:
    screen = [status_screen(reader.pipeline, reader.live)] if reader.pipeline else []
    return Group(*screen, *([Text(printable(reader.error), style="red")] if reader.error else []))


def _footer(interval: float) -> Text:
    return Text(f"{clock(datetime.now(UTC))}, refreshed every {interval:g} s. Press q to quit.", style="dim")


@contextmanager
def _keyboard() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits up to that many seconds for a key and returns it, or an empty string."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed_key(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return os.read(descriptor, 1).decode(errors="replace") or "\x04" if ready else ""

    try:
        tty.setcbreak(descriptor)
        with suppress(KeyboardInterrupt):
            yield pressed_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


# --- in a file or a pipe ---


def _watch_in_pipe(reader: PipelineReader, interval: float) -> None:
    sentences: dict[str, str] = {}
    steps: dict[str, float | None] = {}
    error, progress_at = "", time.monotonic()
    with suppress(KeyboardInterrupt):
        while True:
            reader.refresh()
            if reader.error != error and (error := reader.error):
                _print_line(error)
            if reader.pipeline:
                for text in changed_sentences(sentences, reader.pipeline).values():
                    _print_line(text)
                sentences = state_sentences(reader.pipeline)
            now = {run["run_id"]: run["step"] for run in reader.live}
            if now != steps and time.monotonic() - progress_at >= _PROGRESS_EVERY_SECONDS:
                progress_at, steps = time.monotonic(), now
                for run in reader.live:
                    _print_line(f"{run['phase']}: {progress_text(run)}")
            time.sleep(interval)


def _print_line(text: str) -> None:
    say(f"{clock(datetime.now(UTC))} {text}")
    sys.stdout.flush()
