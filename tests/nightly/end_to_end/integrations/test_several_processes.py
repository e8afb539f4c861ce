"""A signal to a training of several processes.

Cheaper siblings: test_two_processes_that_are_killed_end_as_two_that_are_not in
tests/end_to_end/integrations/test_several_processes.py, and test_a_signal_ends_the_training_after_a_checkpoint in
tests/store/integrations/test_transformers.py, in one process.
"""

import signal
from pathlib import Path

from processes import PATIENCE_SECONDS

from tests.end_to_end.integrations.test_several_processes import Project


def test_a_signal_to_all_saves_the_step_that_they_are_in(tmp_path: Path, store: str) -> None:
    project = Project(tmp_path / "project")

    with project.started(PAUSE="0.5") as training:
        training.wait_for("step-000001")
        training.process.send_signal(signal.SIGTERM)
        training.process.wait(PATIENCE_SECONDS)
        ended = training.run

    assert ended.info.status == "KILLED"
    assert "is saved" in ended.data.tags["phase.reason"]
