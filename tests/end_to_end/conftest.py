"""Fixtures for tests that run whole projects."""

import pytest
from project_folder import PHASES

from tests.end_to_end.fixtures import make_project, project, reference  # noqa: F401


@pytest.fixture
def route() -> str:
    """Return the route of a test that holds on both: the plugin's backend. tests/nightly repeats it on MLflow's own."""
    return PHASES
