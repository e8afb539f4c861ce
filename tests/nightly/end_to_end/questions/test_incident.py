"""The lost model on MLflow's local backend, and with scripts that do not import the plugin.

Cheaper siblings: the tests of the same names in tests/end_to_end/questions/test_incident.py, by `-b phases`.
"""

import pytest
from project_folder import LOCAL, PHASES
from three_phases import WITH_PLUGIN, WITHOUT_PLUGIN

from tests.end_to_end.questions import test_incident
from tests.nightly.repeated import repeated

globals().update(repeated(test_incident, "at_2315", "at_2320"))

WAYS = {"local": (LOCAL, WITH_PLUGIN), "phases-without_plugin": (PHASES, WITHOUT_PLUGIN)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """Return a route and the files of the project to go it with."""
    route, files = request.param
    return route, files
