"""Workspaces of MLflow: the page shows those of the one that is asked for.

Cheaper sibling, without workspaces: test_experiments_that_hold_phases_are_listed in
tests/end_to_end/dashboard/test_server.py.
"""

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from simulation import Simulation

from tests.end_to_end.dashboard.site import DATA, ask
from tests.servers.tracking import TrackingServer


def test_a_workspace_shows_its_own_experiments(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, visit: Any
) -> None:
    server = TrackingServer(
        tmp_path / "server", empty_database, app_name="phases", variables={"MLFLOW_ENABLE_WORKSPACES": "true"}
    )
    server.start()
    try:
        assert ask(f"{server.url}/api/3.0/mlflow/workspaces", {"name": "team-a"}).status == 201
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
        demo = Simulation(tmp_path / "remote", server.url, MlflowClient(server.url).create_experiment("of the team"))
        run_id = demo.compute("collect")
        there = {"X-MLFLOW-WORKSPACE": "team-a"}
        for headers, names, status in ((there, ["of the team"], 200), ({}, [], 404)):
            listed = ask(f"{server.url}{DATA}/experiments", headers=headers).json["experiments"]
            assert [one["name"] for one in listed] == names
            place = f"{server.url}{DATA}/pipeline?experiment_id={demo.experiment_id}"
            assert ask(place, headers=headers).status == status
            assert ask(f"{server.url}{DATA}/find?run_id={run_id}", headers=headers).status == status
        page = visit(server.url).page()
        page.goto(f"{server.url}/phases?workspace=team-a#/{demo.experiment_id}/demo/pipeline")
        page.wait_for_selector("text=collect")
    finally:
        server.stop()
