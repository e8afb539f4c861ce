"""The runs of a phase over time."""

import json

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.reports.views.phase_runs import phase_runs_view


def test_all_runs_of_a_phase_are_there_newest_first_however_they_ended(demo):
    demo.compute("collect")
    good = demo.compute("train", seconds=600.0)
    reused = demo.settle("train").run_id
    failed, _ = demo.start("train", epochs=20)
    demo.records.fail(failed, "no room")
    found = json.loads(json.dumps(phase_runs_view(demo.history(), "train").to_json(), allow_nan=False))
    assert [run["run_id"] for run in found["runs"]] == [failed, reused, good]
    assert [run["grade"] for run in found["runs"]] == [None, "good", "good"]
    assert [run["status"] for run in found["runs"]] == ["FAILED", "FINISHED", "FINISHED"]
    assert (found["runs"][1]["reused_run_id"], found["runs"][1]["saved_seconds"]) == (good, 600.0)
    assert (found["runs"][2]["duration_seconds"], found["runs"][2]["saved_seconds"]) == (600.0, None)
    assert found["runs"][0]["parameters"]["epochs"] == "20"
    assert (found["quality"]["good"], found["gates"], found["truncated"]) == (
        0.85,
        [{"text": "held_out > 0.5", "passed": None}],
        False,
    )


def test_more_runs_than_asked_for_are_left_out_and_that_is_said(demo):
    for text in ("one", "two", "three"):
        newest = demo.compute("collect", text)
    found = phase_runs_view(demo.history(), "collect", at_most=2)
    assert (len(found.runs), found.runs[0].run_id, found.truncated) == (2, newest, True)


def test_a_phase_that_is_not_declared_is_refused_with_those_that_are(demo):
    with pytest.raises(UsageError, match="Phases: collect, train, evaluate"):
        phase_runs_view(demo.history(), "fit")
