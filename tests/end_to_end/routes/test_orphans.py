"""A command whose starter was killed: it goes on, and its run says how it ended."""

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from processes import Started, run_words, started
from project_folder import PHASES, ProjectFolder

from mlflow_plugin import find_reusable
from mlflow_plugin.store.run_decoding import phase_run
from tests.servers.process import wait_until

MLPROJECT = """name: orphans
entry_points:
  train:
    command: "bash work.sh"
    phase: {}
"""
# The signs are no files that the phase depends on, so the script does not name them.
SCRIPT = """signs() { printf %s "$MLFLOW_TESTS_SIGNS"; }
touch "$(signs)/reached"
while [ -e "$(signs)/hold" ]; do sleep 0.05; done
cat "$(printf rows).txt"
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


def test_a_script_without_the_plugin_that_ends_well_after_its_starter_was_killed_is_complete(
    make_project: Callable[[Mapping[str, str]], ProjectFolder], tmp_path: Path
) -> None:
    project = make_project({"MLproject": MLPROJECT, "work.sh": SCRIPT, "rows.txt": "1"})
    (tmp_path / "hold").touch()
    with started(project, *run_words("train", PHASES), MLFLOW_TESTS_SIGNS=str(tmp_path)) as running:
        orphan(project, running, tmp_path)
        wait_until(lambda: project.newest("train").info.status != "RUNNING", "the run ended")
    run = phase_run(project.newest("train"))
    assert (run.status, run.complete) == ("FINISHED", True)
    assert run.duration_seconds is not None
    verdict = find_reusable(project.folder, "train")
    assert verdict.action == "reuse", verdict.reasons
    project.write({"rows.txt": "2"})  # What the command read without its starter is known too.
    assert find_reusable(project.folder, "train").action == "run"
