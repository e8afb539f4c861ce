"""Progress and messages: periodic lines, bars at a terminal, log lines in a file."""

import logging
import os
import threading
from io import StringIO
from types import SimpleNamespace

import pytest

from mlflow_plugin import progress as progress_module
from mlflow_plugin.progress import Progress, progress, report_periodically, silence

CLEAR_LINE = "\x1b[2K"


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal_output(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of 100 columns on which every step is drawn at once."""
    output = Terminal()
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "30", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    # Not sys.stderr itself: pytest sets that anew before each test.
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=output))
    monkeypatch.setattr(progress_module, "_EVERY_SECONDS_TERMINAL", 0.0)
    return output


@pytest.fixture
def logged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_EVERY_SECONDS_FILE", 0.0)


def last_line(output: Terminal) -> str:
    """Return the last state that was drawn."""
    return (
        output.getvalue().rstrip("\n").split(CLEAR_LINE)[-1].replace("\x1b[?25l", "").replace("\x1b[?25h", "").strip()
    )


def test_long_work_is_reported_periodically(capsys: pytest.CaptureFixture[str]) -> None:
    described = threading.Event()

    def describe() -> str:
        described.set()
        return "3 of 4"

    with report_periodically(describe, first_seconds=0.01):
        assert described.wait(30)
    assert "[phases] 3 of 4" in capsys.readouterr().err


def test_short_work_is_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    with report_periodically(lambda: "never"):
        pass
    assert capsys.readouterr().err == ""


def test_in_a_file_progress_is_plain_log_lines(logged_at_once: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("abcd", description="reading")) == list("abcd")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "[phases] reading: 1/4 (25%), less than 1 s left, less than 1 s so far"
    assert lines[-1] == "[phases] reading: 4/4 (100%), less than 1 s so far"
    assert "\x1b" not in "".join(lines)


def test_in_a_file_there_is_one_line_every_five_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    bar = Progress("training", None)
    for _ in range(24):
        now[0] += 0.5
        bar.advance("loss 0.5")
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "[phases] training: 10, 5 s so far, loss 0.5",
        "[phases] training: 20, 10 s so far, loss 0.5",
    ]


def test_the_remaining_time_counts_only_the_steps_of_this_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    bar = Progress("training", 100, done=90)
    now[0] = 20.0
    bar.advance()
    assert bar.state() == "91/100 (91%), about 3 min left, 20 s so far"


def test_at_a_terminal_progress_is_a_bar_that_stays_when_the_loop_ends(terminal_output: Terminal) -> None:
    for _ in progress(range(4), description="reading [x]"):
        pass
    assert terminal_output.getvalue().count(CLEAR_LINE) >= 4
    assert "1/4 (25%), less than 1 s left" in terminal_output.getvalue()
    assert last_line(terminal_output).startswith("[phases] reading [x] ━━━━━━━━━━━━━━━━━━━━━━━━ 4/4 (100%)")
    assert terminal_output.getvalue().endswith("\n\x1b[?25h")


def test_the_cursor_is_visible_while_a_bar_is_drawn(terminal_output: Terminal) -> None:
    loop = progress(range(4))
    next(loop), next(loop)
    assert terminal_output.getvalue().rfind("\x1b[?25h") > terminal_output.getvalue().rfind("\x1b[?25l") >= 0
    loop.close()


def test_a_short_loop_draws_no_bar(terminal_output: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_module, "_EVERY_SECONDS_TERMINAL", 3600.0)
    assert list(progress("abc")) == list("abc")
    assert terminal_output.getvalue() == ""


def test_of_nested_loops_the_innermost_is_drawn_on_one_line(terminal_output: Terminal) -> None:
    for _ in progress("ab", description="outer"):
        for _ in progress("xyz", description="inner"):
            pass
    output = terminal_output.getvalue()
    assert "inner" in output
    assert "\x1b[1A" not in output  # The cursor never moves up, over lines that the program has printed.
    assert output.count("\n") == 2  # The first inner bar was the only one then; so it stays, as the outer one.
    assert last_line(terminal_output).startswith("[phases] outer ━━━━━━━━━━━━━━━━━━━━━━━━ 2/2 (100%)")


def test_a_message_stands_on_a_line_of_its_own_above_the_bar(terminal_output: Terminal) -> None:
    loop = progress("abc", description="reading")
    next(loop), next(loop)
    logging.getLogger("mlflow_plugin.test").info("[b]a message[/b]")
    assert f"{CLEAR_LINE}[phases] [b]a message[/b]\n[phases] reading " in terminal_output.getvalue()
    loop.close()
    logging.getLogger("mlflow_plugin.test").info("after")
    assert terminal_output.getvalue().endswith("\n\x1b[?25h[phases] after\n")


def test_a_silenced_logger_silences_the_bar(terminal_output: Terminal) -> None:
    silence()
    assert list(progress("abc")) == list("abc")
    assert terminal_output.getvalue() == ""


def test_a_silenced_logger_silences_the_log_lines(logged_at_once: None, capsys: pytest.CaptureFixture[str]) -> None:
    silence()
    assert list(progress("abc")) == list("abc")
    assert capsys.readouterr().err == ""


def test_a_dumb_terminal_gets_log_lines(
    terminal_output: Terminal, logged_at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    list(progress("ab", description="reading"))
    assert terminal_output.getvalue().startswith("[phases] reading: 1/2 (50%)")


def test_a_forked_process_leaves_the_bar_of_its_parent_alone(terminal_output: Terminal) -> None:
    loop = progress("abc", description="reading")
    next(loop), next(loop)
    before = len(terminal_output.getvalue())
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            logging.getLogger("mlflow_plugin.test").info("from the child")
            os.write(writing, terminal_output.getvalue()[before:].encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    assert os.read(reading, 1000) == b"[phases] from the child\n"
    loop.close()


def test_a_terminal_that_was_closed_does_not_end_the_loop(
    terminal_output: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = progress("abcd")
    next(loop), next(loop)

    def write(text: str) -> int:
        raise OSError("Input/output error")

    monkeypatch.setattr(terminal_output, "write", write)
    assert list(loop) == ["c", "d"]


@pytest.mark.parametrize(
    ("level", "text", "line"),
    [
        (logging.INFO, "train: done", "[phases] train: done"),
        (logging.WARNING, "train: weird is nan", "[phases] warning: train: weird is nan"),
        (logging.ERROR, "train: it failed", "mlflow-phases: train: it failed"),
        (logging.INFO, "\nphase  verdict", "\nphase  verdict"),
    ],
)
def test_a_message_shows_at_the_terminal_how_serious_it_is(capsys, level, text, line):
    logging.getLogger("mlflow_plugin.execution").log(level, text)
    assert capsys.readouterr().err == f"{line}\n"
