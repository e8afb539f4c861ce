"""Files that phases side by side both write without declaring them are named."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mlflow_plugin.backends import written_twice
from mlflow_plugin.backends.written_twice import WrittenTwice
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.store.run import PhaseRun


def ran(name: str, began: int, ended: int, **more: str) -> PhaseRun:
    times = {"started_at": datetime.fromtimestamp(began, UTC), "completed_at": datetime.fromtimestamp(ended, UTC)}
    return PhaseRun(name, name, **times, **more)


@pytest.mark.parametrize(
    ("other", "warned"),
    [
        (ran("b", 1, 3), True),
        (ran("b", 2, 3), False),
        (ran("b", 1, 3, reused_run_id="a"), False),
        (ran("c", 1, 3), False),
    ],
)
def test_only_files_that_two_runs_wrote_at_the_same_time_are_named(
    other: PhaseRun, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrote = {"a": ("shared.txt", "a.txt", "/tmp/x"), "b": ("shared.txt", "b.txt", "/tmp/x"), "c": ("c.txt", "/tmp/x")}
    monkeypatch.setattr(written_twice, "trace_of_run", lambda run: Trace("full", wrote=wrote[run.phase]))
    written = WrittenTwice()
    written.add("a", Path("/project"), ran("a", 0, 2))
    written.add(other.phase, Path("/project"), other)
    said = ["a and b ran side by side and both wrote shared.txt" in record.getMessage() for record in caplog.records]
    assert said == ([True] if warned else [])
