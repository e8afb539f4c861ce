"""`mlflow-phases status --watch`: the pipeline drawn again and again, until q or Ctrl-C. Without a terminal a line is
printed whenever something changes.
"""

import os
import select
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import click
from mlflow.exceptions import MlflowException

from mlflow_plugin.cli.status_lines import Line, changes, progress_text, status_lines, told
from mlflow_plugin.errors import store_trouble
from mlflow_plugin.format import clock
from mlflow_plugin.reports.views.live import live_view
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store.history import History

_SAY_PROGRESS_EVERY_SECONDS = 10.0
_OTHER_SCREEN, _FIRST_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


class Watched:
    """The pipeline as it is now. The whole of it is read again only when something has changed, and now and then for
    what only time changes.
    """

    def __init__(self, history: Callable[[], History], whole_every_seconds: float = 30.0) -> None:
        self._history, self._every = history, whole_every_seconds
        self._stamp, self._read_at = "", -whole_every_seconds
        self.pipeline: dict[str, Any] | None = None
        self.live: list[dict[str, Any]] = []
        self.trouble = ""

    def look(self) -> None:
        """Reads what is new. A store that does not answer leaves what was read, with the trouble beside it."""
        try:
            history = self._history()
            live = live_view(history).to_json()
            now = time.monotonic()
            if live["stamp"] != self._stamp or now - self._read_at >= self._every:
                self.pipeline, self._stamp, self._read_at = pipeline_view(history).to_json(), live["stamp"], now
            self.live, self.trouble = live["running"], ""
            assert self.pipeline is not None
            self.pipeline["questions"] = live["questions"]
        except MlflowException as error:
            self.trouble = str(store_trouble(error))


def watch_status(history: Callable[[], History], interval: float) -> None:
    """Shows the pipeline until somebody ends it. `history` gives what is read next. Raises PhaseError and UsageError
    for a project or an experiment that is not there.
    """
    watched = Watched(history)
    if _is_terminal():
        _draw(watched, interval)
    else:
        _tell(watched, interval)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and sys.stdin.isatty() and os.environ.get("TERM", "dumb") != "dumb"


# --- at a terminal ---


def _draw(watched: Watched, interval: float) -> None:
    watched.look()
    with _keyboard() as pressed, _screen():
        while True:
            sys.stdout.write(_frame(_lines(watched, interval)))
            sys.stdout.flush()
            if pressed(interval) in ("q", "Q", "\x03", "\x04"):
                break
            watched.look()
    # The last look stays where the person types on.
    click.echo("\n".join(_coloured(line, 10_000) for line in _lines(watched, interval)[:-1]))


def _lines(watched: Watched, interval: float) -> list[Line]:
    lines = status_lines(watched.pipeline, watched.live) if watched.pipeline else []
    trouble = [Line(watched.trouble, "31")] if watched.trouble else []
    foot = Line(f"{clock(datetime.now(UTC))}; every {interval:g} s; q ends this", "2")
    return [*lines, *trouble, Line(""), foot]


def _frame(lines: list[Line]) -> str:
    columns, rows = shutil.get_terminal_size()
    if len(lines) > rows:
        lines = [*lines[: rows - 2], Line(f"... {len(lines) - rows + 1} more lines"), lines[-1]]
    # Each line is drawn over what was there, so that nothing flickers.
    drawn = [f"{_coloured(line, columns)}\x1b[K" for line in lines]
    return "\x1b[H" + "\r\n".join(drawn) + "\x1b[J"


def _coloured(line: Line, columns: int) -> str:
    text = line.text if len(line.text) <= columns else f"{line.text[: columns - 1]}…"
    if not line.colour or os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\x1b[{line.colour}m{text}\x1b[0m"


@contextmanager
def _screen() -> Iterator[None]:
    sys.stdout.write(_OTHER_SCREEN)
    try:
        yield
    finally:
        sys.stdout.write(_FIRST_SCREEN)
        sys.stdout.flush()


@contextmanager
def _keyboard() -> Iterator[Callable[[float], str]]:
    """Gives a function that waits at most so many seconds for a key, and says which; empty for none."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return os.read(descriptor, 1).decode(errors="replace") or "\x04" if ready else ""

    try:
        tty.setcbreak(descriptor)
        with suppress(KeyboardInterrupt):
            yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


# --- into a file or a pipe ---


def _tell(watched: Watched, interval: float) -> None:
    before: dict[str, str] = {}
    steps: dict[str, float | None] = {}
    trouble, said = "", time.monotonic()
    with suppress(KeyboardInterrupt):
        while True:
            watched.look()
            if watched.trouble != trouble and (trouble := watched.trouble):
                _say(trouble)
            if watched.pipeline:
                for text in changes(before, watched.pipeline).values():
                    _say(text)
                before = told(watched.pipeline)
            now = {run["run_id"]: run["step"] for run in watched.live}
            if now != steps and time.monotonic() - said >= _SAY_PROGRESS_EVERY_SECONDS:
                said, steps = time.monotonic(), now
                for run in watched.live:
                    _say(f"{run['phase']}: {progress_text(run)}")
            time.sleep(interval)


def _say(text: str) -> None:
    click.echo(f"{clock(datetime.now(UTC))} {text}")
    sys.stdout.flush()
