"""A command whose starter was killed: it goes on, and its run says how it ended."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from mlflow.entities import Run
from processes import Started, run_words, started
from project_folder import PHASES, ProjectFolder

from mlflow_plugin import find_reusable
from mlflow_plugin.store.run_decoding import phase_run
from tests.servers.process import wait_until

MLPROJECT = """name: orphans
entry_points:
  train:
    command: "touch $SIGNS/reached; while [ -e $SIGNS/hold ]; do sleep 0.05; done; END"
    phase: {}
"""


def orphan(project: ProjectFolder, running: Started, signs: Path) -> None:
    """Kill the process that started the command, and let the command end."""
    wait_until((signs / "reached").exists, "the command started")
    computing = running.family()[1:]
    # The heartbeat that names the command's own process is written a moment after its start.
    wait_until(lambda: _heartbeat_pid(project) == computing[0].pid, "the command's heartbeat")
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    (signs / "hold").unlink()


def _heartbeat_pid(project: ProjectFolder) -> object:
    return phase_run(project.newest("train")).heartbeat.get("pid")


@pytest.mark.parametrize(("end", "complete"), [("true", True), ("exit 3", False)], ids=["well", "badly"])
def test_a_script_without_the_plugin_that_ends_after_its_starter_was_killed_is_recorded(
    make_project: Callable[[Mapping[str, str]], ProjectFolder], end: str, complete: bool, tmp_path: Path
) -> None:
    project = make_project({"MLproject": MLPROJECT.replace("END", end)})
    (tmp_path / "hold").touch()
    with started(project, *run_words("train", PHASES), SIGNS=str(tmp_path)) as running:
        orphan(project, running, tmp_path)
        wait_until(lambda: project.newest("train").info.status != "RUNNING", "the run ended")
    run: Run = project.newest("train")
    read = phase_run(run)
    assert (read.status, read.complete) == ("FINISHED" if complete else "FAILED", complete)
    if complete:
        assert read.duration_seconds is not None
        assert find_reusable(project.folder, "train").action == "reuse"
    else:
        assert "its command ended with exit code 3; the process that started it was gone" in read.reason
