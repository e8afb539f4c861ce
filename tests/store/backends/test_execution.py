"""The contract between the execution of a phase and a backend's launcher."""

import pytest

from mlflow_plugin.backends.execution import ExecutionSettings, Launcher, execute_phase
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.resolution import Resolution
from mlflow_plugin.machine.signals import Terminated


def launcher(result: int | BaseException | None) -> Launcher:
    """Return a launcher that computes nothing and ends like this."""

    def launch(
        resolution: Resolution, settings: ExecutionSettings, heartbeat: Heartbeat, observer: Observer
    ) -> int | None:
        assert heartbeat.run_id == resolution.run_id
        if isinstance(result, BaseException):
            raise result
        return result

    return launch


def newest(demo):
    return demo.history().recent("collect", 1)[0]


def test_a_command_that_ends_well_completes_the_run(demo):
    outcome = execute_phase(demo.request("collect"), ExecutionSettings(), launcher(0))
    assert outcome.result.run_id == outcome.run_id
    assert (newest(demo).run_id, newest(demo).complete, newest(demo).status) == (outcome.run_id, True, "FINISHED")


def test_a_reused_phase_is_not_launched(demo):
    run_id = demo.compute("collect")
    outcome = execute_phase(demo.request("collect"), ExecutionSettings(), launcher(AssertionError("launched")))
    assert (outcome.result.run_id, outcome.verdict.action) == (run_id, "reuse")


@pytest.mark.parametrize(
    ("result", "ending"),
    [(3, "ended with exit code 3"), (-9, "was ended by SIGKILL"), (137, "was ended by SIGKILL")],
)
def test_a_command_that_fails_ends_the_run_as_failed(demo, result, ending):
    with pytest.raises(PhaseError, match=ending):
        execute_phase(demo.request("collect"), ExecutionSettings(), launcher(result))
    assert (newest(demo).status, newest(demo).complete) == ("FAILED", False)


def test_a_command_that_ran_out_of_time_ends_the_run_as_killed(demo):
    demo.edit("MLproject", "phase: {}", "phase: {timeout_minutes: 2}")
    with pytest.raises(PhaseError, match="stopped after timeout_minutes = 2"):
        execute_phase(demo.request("collect"), ExecutionSettings(), launcher(None))
    assert (newest(demo).status, newest(demo).complete) == ("KILLED", False)


def test_a_command_that_cannot_be_started_ends_the_run_as_failed(demo):
    with pytest.raises(PhaseError, match="no such queue"):
        execute_phase(demo.request("collect"), ExecutionSettings(), launcher(PhaseError("no such queue")))
    assert (newest(demo).status, newest(demo).reason) == ("FAILED", "no such queue")


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), Terminated("ended by SIGTERM")])
def test_an_interruption_ends_the_run_as_killed_and_goes_to_the_caller(demo, interruption):
    with pytest.raises(type(interruption)):
        execute_phase(demo.request("collect"), ExecutionSettings(), launcher(interruption))
    assert (newest(demo).status, newest(demo).complete) == ("KILLED", False)
