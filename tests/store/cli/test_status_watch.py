"""`status --watch` at a terminal, in a pipe, and where the store goes away."""

import signal
import sys

import pexpect
import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.cli import status_watch
from mlflow_plugin.cli.status_lines import LOOKS, changes, progress_text, status_lines, told
from mlflow_plugin.cli.status_watch import Watched
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.project.vocabulary import State
from mlflow_plugin.reports.views.live import live_view
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store import schema
from mlflow_plugin.store.run_encoding import dumps

LIVE = {
    "run_id": "a" * 32,
    "short": "a" * 8,
    "phase": "train",
    "state": "running",
    "sentence": "",
    "step": 45.0,
    "total": 100.0,
    "seconds_per_step": 0.5,
    "steps_per_second": 2.0,
    "eta_seconds": 27.5,
    "heartbeat_age_seconds": 3.2,
    "process_percent": 97.0,
    "cpu_percent": 50.0,
    "gpu_percent": 12.0,
    "host": "here\x1b[2J",
    "started_at": None,
}


def obeying() -> None:
    """For a child: Ctrl-C ends it, also where the tests were started in the background, which lets it be ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_every_state_has_a_symbol_of_its_own():
    assert set(LOOKS) == set(State.__args__)
    assert len({look.symbol for look in LOOKS.values()}) == len(LOOKS)


def test_progress_says_how_far_how_fast_how_long_and_when_it_was_last_heard():
    text = progress_text(LIVE)
    assert "aaaaaaaa running [###########-------------] 45/100 (45%)" in text
    assert ", 2 steps/s, about 28 s left, heartbeat 3 s ago, CPU 97% of a core, GPU 12%, on here" in text
    assert "\x1b" not in text
    unknown = {**LIVE, "step": None, "total": None, "steps_per_second": None, "eta_seconds": None}
    assert progress_text(unknown).startswith("aaaaaaaa running, heartbeat 3 s ago")


def test_each_phase_has_a_line_and_below_it_what_runs(demo):
    demo.compute("collect")
    run_id, _ = demo.start("train")
    demo.client.set_tag(run_id, schema.HEARTBEAT, dumps({**new_heartbeat(3), "total": 10}))
    history = demo.history()
    lines = [
        line.text for line in status_lines(pipeline_view(history).to_json(), live_view(history).to_json()["running"])
    ]
    at = {name: next(n for n, line in enumerate(lines) if f" {name} " in line) for name in ("collect", "train")}
    assert lines[at["collect"]].startswith("✓")
    assert lines[at["train"]].startswith("▶")
    assert f"{run_id[:8]} running [#######-----------------] 3/10 (30%)" in lines[at["train"] + 1]


def test_only_what_changed_is_told_anew(demo):
    before = told(pipeline_view(demo.history()).to_json())
    assert changes(before, pipeline_view(demo.history()).to_json()) == {}
    demo.compute("collect")
    assert list(changes(before, pipeline_view(demo.history()).to_json())) == ["collect"]


def test_a_store_that_goes_away_is_told_and_what_was_read_stays(demo):
    there = [True]

    def history():
        if not there[0]:
            raise MlflowException("connection refused")
        return demo.history()

    watched = Watched(history)
    watched.look()
    there[0] = False
    watched.look()
    assert "connection refused" in watched.trouble
    assert watched.pipeline is not None
    there[0] = True
    watched.look()
    assert watched.trouble == ""


def test_what_does_not_fit_the_terminal_is_cut_and_counted(monkeypatch):
    monkeypatch.setattr(status_watch.shutil, "get_terminal_size", lambda: (20, 4))
    frame = status_watch._frame([status_watch.Line(f"line {number} " + "x" * 40) for number in range(9)])
    shown = frame.removeprefix("\x1b[H").removesuffix("\x1b[J").split("\x1b[K\r\n")
    assert len(shown) == 4
    assert shown[0] == "line 0 xxxxxxxxxxxx…"
    assert "... 6 more lines" in frame


@pytest.fixture
def watching(demo):
    demo.compute("collect")
    words = ["-m", "mlflow_plugin.cli", "status", "--watch", "--interval", "0.2", "--project", str(demo.folder)]
    child = pexpect.spawn(sys.executable, words, encoding="utf-8", timeout=60, dimensions=(30, 160), preexec_fn=obeying)
    yield demo, child
    child.close(force=True)


@pytest.mark.end_to_end
@pytest.mark.parametrize("key", ["q", "\x03"])
def test_at_a_terminal_it_is_drawn_anew_until_somebody_ends_it(watching, key):
    demo, child = watching
    child.expect_exact("\x1b[?1049h")
    child.expect_exact("missing")
    child.expect_exact("q ends this")
    run_id, _ = demo.start("train")
    child.expect_exact(f"{run_id[:8]} running")
    child.send(key)
    child.expect_exact("\x1b[?25h\x1b[?1049l")  # The cursor and the screen are as they were,
    child.expect_exact(f"{run_id[:8]} running")  # and the last look stays.
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


@pytest.mark.end_to_end
def test_in_a_pipe_a_line_is_printed_when_something_changes(demo, capfd):
    demo.compute("collect")
    words = f"-m mlflow_plugin.cli status --watch --interval 0.1 --project {demo.folder}"
    child = pexpect.spawn(
        "/bin/sh", ["-c", f"{sys.executable} {words} | cat"], encoding="utf-8", timeout=60, preexec_fn=obeying
    )
    child.expect(r"UTC collect: up to date: \w{8} of ")
    child.expect_exact("evaluate: missing: never run")
    run_id, _ = demo.start("train")
    child.expect_exact(f"train: running: {run_id[:8]} since ")
    assert "\x1b" not in child.before
    child.sendintr()
    child.expect(pexpect.EOF)
    assert "Traceback" not in child.before
    child.close(force=True)
