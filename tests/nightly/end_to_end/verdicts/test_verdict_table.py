"""The verdict table on MLflow's local backend, and its first rows with scripts that do not import the plugin.

Cheaper siblings: the tests of the same names in tests/end_to_end/verdicts/test_verdict_table.py, by `-b phases`.
"""

import pytest
from project_folder import LOCAL, PHASES
from three_phases import WITH_PLUGIN, WITHOUT_PLUGIN

from tests.end_to_end.verdicts import test_verdict_table
from tests.nightly.repeated import repeated

globals().update(repeated(test_verdict_table, "route", "way"))

WAYS = {"local": (LOCAL, WITH_PLUGIN), "phases-without_plugin": (PHASES, WITHOUT_PLUGIN)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[str, dict[str, str]]:
    """Return a route and the files of the project to go it with."""
    route, files = request.param
    return route, files
