"""Fixtures for tests that repeat those of tests/end_to_end on another route or store."""

import pytest
from project_folder import LOCAL

from tests.end_to_end.fixtures import make_project, project, reference  # noqa: F401


@pytest.fixture
def route() -> str:
    """Return the route that tests/end_to_end leaves out where a test holds on both: MLflow's local backend."""
    return LOCAL
