"""The end of a command whose starter is gone, recorded by the shell around it."""

import sys
from collections.abc import Callable

import pytest

from mlflow_plugin.backends import finish
from mlflow_plugin.execution.handover import DECIDED


@pytest.fixture
def finished(demo, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], int]:
    """Return a function that records the end of a run's command with an exit code, in the process of that command."""
    monkeypatch.chdir(demo.folder)

    def end(run_id: str, exit_code: int) -> int:
        monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
        monkeypatch.setenv(DECIDED, run_id)
        monkeypatch.setattr(sys, "argv", ["finish", str(exit_code), "7"])
        return finish.main()

    return end


def test_a_command_that_ended_well_completes_its_run_with_the_seconds_that_it_took(demo, finished):
    run_id, _ = demo.start("collect", seed=4)
    demo.client.log_text(run_id, "rows", "rows.txt")
    assert finished(run_id, 0) == 0
    run = demo.run(run_id)
    assert (run.complete, run.status, run.duration_seconds) == (True, "FINISHED", 7.0)
    assert set(run.outputs["sizes"]) == {"rows.txt"}
    assert demo.action("collect", seed=4) == ("reuse", "same")


def test_a_command_that_failed_is_recorded_with_its_exit_code(demo, finished):
    run_id, _ = demo.start("collect")
    assert finished(run_id, 3) == 3
    run = demo.run(run_id)
    assert (run.status, run.complete) == ("FAILED", False)
    assert run.reason == "collect: its command ended with exit code 3; the process that started it was gone"


def test_a_run_that_is_complete_taken_over_or_failed_is_left_as_it_is(demo, finished):
    complete = demo.compute("collect")
    failed, _ = demo.start("collect", seed=1)
    demo.records.fail(failed, "out of memory")
    taken, _ = demo.start("collect", seed=2)
    demo.lose_heartbeat(taken)
    demo.records.take_over(demo.run(taken), complete)
    before = {run_id: demo.client.get_run(run_id).to_dictionary() for run_id in (complete, failed, taken)}
    for run_id in before:
        finished(run_id, 0)
    assert {run_id: demo.client.get_run(run_id).to_dictionary() for run_id in before} == before


def test_a_result_that_cannot_be_recorded_fails_the_run_and_says_why(demo, finished, monkeypatch, capsys):
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    run_id, _ = demo.start("collect")
    monkeypatch.setattr(finish, "complete_work", refuse)
    assert finished(run_id, 0) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert "No space left on device" in demo.run(run_id).reason
    assert demo.run(run_id).status == "FAILED"
