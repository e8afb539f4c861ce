"""What is left of a phase whose command succeeded and whose result could not be recorded."""

import pytest

from mlflow_plugin import execution
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution import Execution, carry_out


def test_a_result_that_cannot_be_recorded_ends_the_run_as_failed(demo, monkeypatch):
    def refuse(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execution, "_run_command", lambda attempt, settings, heart: 0)
    monkeypatch.setattr(execution, "complete_work", refuse)
    with pytest.raises(PhaseError) as error:
        carry_out(demo.request("collect"), Execution())
    run = demo.history().recent("collect", 1)[0]
    assert run.status == "FAILED"
    assert run.reason == "collect: its result could not be recorded: OSError: [Errno 28] No space left on device"
    assert str(error.value) == f"{run.reason}. What it logged is kept in run {run.run_id}."
    assert not run.complete
