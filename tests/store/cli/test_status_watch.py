"""`status --watch` at a terminal, in a pipe, and where the store goes away."""

import re
import signal
import sys

import pexpect
import pytest
from mlflow.exceptions import MlflowException
from rich.console import Console
from rich.text import Text

from mlflow_plugin.cli.status_lines import LOOKS, changed_sentences, progress_text, question_lines, state_sentences
from mlflow_plugin.cli.status_screen import FittedScreen, status_screen
from mlflow_plugin.cli.status_watch import PipelineReader
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


def rendered(screen, width=160, height=30):
    """Return the lines that rich draws for a terminal of that size, without colours."""
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen)
    return capture.get().splitlines()


def accept_interrupts() -> None:
    """Let Ctrl-C end a child process, also where the tests run in the background and the signal is ignored."""
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
    lines = rendered(status_screen(pipeline_view(history).to_json(), live_view(history).to_json()["running"]))
    first = {name: next(line for line in lines if f" {name} " in line) for name in ("collect", "train")}
    assert first["collect"].startswith("✓  collect   up to date  ")
    assert first["train"].startswith("▶  train     running")
    progress = next(line for line in lines if "3/10 (30%)" in line)
    assert re.match(rf"▶  train  {run_id[:8]} running  ━{{7}} +3/10 \(30%\)  ", progress)


def test_a_long_text_does_not_push_the_state_and_the_run_off_a_narrow_terminal(demo):
    run_id = demo.compute("collect")
    pipeline = pipeline_view(demo.history()).to_json()
    pipeline["phases"][0]["quality"] = {"metric": "a_metric_with_a_long_name" * 2, "value": 1.0, "grade": "good"}
    lines = rendered(status_screen(pipeline, []), width=70)
    line = next(line for line in lines if " collect " in line)
    assert "up to date" in line
    assert "…" in line
    assert line.rstrip().endswith(run_id[:8])


def test_texts_of_the_store_cannot_steer_the_terminal_or_style_the_screen(demo):
    demo.compute("collect")
    pipeline = pipeline_view(demo.history()).to_json()
    pipeline["phases"][0]["remarks"] = ["\x1b[2J[red]danger[/red] :smile:"]
    text = "\n".join(rendered(status_screen(pipeline, [LIVE])))
    assert "U+001B[2J[red]danger[/red] :smile:" in text
    assert "\x1b" not in text


def test_a_question_lists_its_options_and_the_command_that_answers_it():
    option = {"letter": "a", "title": "reuse it", "price": "nothing is computed"}
    question = {"phase": "train", "short": "b" * 8, "run_id": "b" * 32, "reasons": ["poor\x07"], "options": [option]}
    assert question_lines(question) == [
        "train bbbbbbbb asks: poorU+0007",
        "    a) reuse it (nothing is computed)",
        f"    mlflow-phases answer {'b' * 32} LETTER",
    ]


def test_only_changed_states_are_reported_again(demo):
    before = state_sentences(pipeline_view(demo.history()).to_json())
    assert changed_sentences(before, pipeline_view(demo.history()).to_json()) == {}
    demo.compute("collect")
    assert list(changed_sentences(before, pipeline_view(demo.history()).to_json())) == ["collect"]


def test_a_store_that_goes_away_is_reported_and_the_last_state_stays(demo):
    available = [True]

    def history():
        if not available[0]:
            raise MlflowException("connection refused")
        return demo.history()

    reader = PipelineReader(history)
    reader.refresh()
    available[0] = False
    reader.refresh()
    assert "connection refused" in reader.error
    assert reader.pipeline is not None
    available[0] = True
    reader.refresh()
    assert reader.error == ""


def test_lines_that_do_not_fit_the_terminal_are_counted():
    body = Text("\n".join(f"line {number}" for number in range(9)))
    lines = rendered(FittedScreen(body, Text("footer")), height=4)
    assert lines == ["line 0", "line 1", "... 7 more lines", "footer"]
    assert rendered(FittedScreen(body, Text("footer")), height=10) == [*(f"line {n}" for n in range(9)), "footer"]


@pytest.fixture
def watching(demo):
    demo.compute("collect")
    words = ["-m", "mlflow_plugin.cli", "status", "--watch", "--interval", "0.2", "--project", str(demo.folder)]
    child = pexpect.spawn(
        sys.executable, words, encoding="utf-8", timeout=60, dimensions=(30, 160), preexec_fn=accept_interrupts
    )
    yield demo, child
    child.close(force=True)


@pytest.mark.end_to_end
@pytest.mark.parametrize("key", ["q", "\x03"])
def test_at_a_terminal_the_screen_is_refreshed_until_a_key_ends_it(watching, key):
    demo, child = watching
    child.expect_exact("\x1b[?1049h")
    child.expect_exact("missing")
    child.expect_exact("Press q to quit")
    run_id, _ = demo.start("train")
    child.expect_exact(f"{run_id[:8]} running")
    child.send(key)
    child.expect_exact("\x1b[?25h")  # The cursor is visible again,
    child.expect_exact("\x1b[?1049l")  # the first screen is back,
    child.expect_exact(f"{run_id[:8]} running")  # and the last state stays.
    child.expect(pexpect.EOF)
    assert "Press q" not in child.before
    child.close()
    assert child.exitstatus == 0


@pytest.mark.end_to_end
def test_in_a_pipe_a_line_is_printed_when_something_changes(demo, capfd):
    demo.compute("collect")
    words = f"-m mlflow_plugin.cli status --watch --interval 0.1 --project {demo.folder}"
    child = pexpect.spawn(
        "/bin/sh", ["-c", f"{sys.executable} {words} | cat"], encoding="utf-8", timeout=60, preexec_fn=accept_interrupts
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
