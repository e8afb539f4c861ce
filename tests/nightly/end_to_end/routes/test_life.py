"""Tests of both routes, here on MLflow's local backend, and of signals that are rarer than Ctrl-C.

Cheaper siblings: the tests of the same names in tests/end_to_end/routes/test_life.py, by `-b phases`.
"""

import signal

import pytest
from project_folder import LOCAL, PHASES, ProjectFolder

from tests.end_to_end.routes import test_life
from tests.end_to_end.routes.test_life import held  # noqa: F401
from tests.nightly.repeated import repeated

globals().update(repeated(test_life, "route"))


@pytest.mark.parametrize("way", [PHASES, LOCAL])
def test_a_phase_that_is_warned_of_its_end_saves_its_state_first_and_goes_on_later(
    held: ProjectFolder,  # noqa: F811
    way: str,
) -> None:
    test_life.test_a_phase_that_is_told_to_end_saves_its_state_first_and_goes_on_later(held, way, signal.SIGUSR1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_processes_that_load_data_live_until_the_step_has_ended(held: ProjectFolder, number: signal.Signals) -> None:  # noqa: F811
    test_life.test_processes_that_load_data_live_until_the_step_has_ended(held, number)
