"""MLflow's local backend, and scripts without the plugin, against a real tracking server.

Cheaper sibling: test_the_main_path_works_over_http_with_artifacts_behind_the_server in
tests/end_to_end/stores/test_server.py.
"""

import pytest
from four_phases import PHASE_NAMES, WITHOUT_PLUGIN
from processes import run_words
from project_folder import LOCAL, ProjectFolder

from tests.end_to_end.stores.test_server import newest, run
from tests.servers.tracking import TrackingServer

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]


def test_scripts_without_the_plugin_work_over_http_on_the_stock_route_and_by_the_backend(
    served: ProjectFolder, server: TrackingServer
) -> None:
    served.write(WITHOUT_PLUGIN)
    assert run(served, "main")[0] == 0
    code, text = run(served, "main")
    assert (code, served.executed()) == (0, list(PHASE_NAMES)), text
    assert newest("phase4").data.tags["phase.verdict"] == "reuse"


def test_the_stock_route_reuses_over_http_what_the_backend_made(served: ProjectFolder) -> None:
    assert run(served, "phase1")[0] == 0
    served.executed()
    result = served.command(*run_words("phase1", LOCAL))
    assert (result.exit_code, served.executed()) == (0, []), result.text
    assert newest("phase1").data.tags["phase.verdict"] == "reuse"
