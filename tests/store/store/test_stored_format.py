"""Stores of the first version are still read: `fixtures/store_v1` was made by `fixtures/make_store.py`, once."""

from pathlib import Path

import pytest
from make_store import ROOT_NAME, copied
from simulation import Simulation

from mlflow_plugin.cli.comparison import compare_runs
from mlflow_plugin.store.outputs import fetch_outputs

STORED = Path(__file__).parents[2] / "fixtures" / "store_v1"


@pytest.fixture
def old(tmp_path: Path) -> Simulation:
    """Return the project of the first version with a copy of its store, which may be written to."""
    folder = tmp_path / "store_v1"
    return Simulation(folder / "project", copied(STORED, folder))


def test_the_stored_files_are_small_and_tell_nothing_of_the_machine_that_made_them():
    database = STORED / "tracking.db"
    assert database.stat().st_size < 1_000_000
    content = database.read_bytes()
    assert ROOT_NAME.encode() in content
    for private in (b"/tmp/", b"/home/", str(Path(__file__).parents[3]).encode()):
        assert private not in content


def test_a_finished_pipeline_is_reused(old):
    assert [old.action(phase) for phase in ("collect", "train")] == [("reuse", "same"), ("reuse", "same")]
    verdict = old.decide("train").verdict
    assert verdict.quality == 0.9
    assert old.run(verdict.run_id).duration_seconds == 660.0


def test_the_reuse_can_be_recorded_in_it_and_leads_to_the_run_that_computed(old):
    computed = old.decide("train").verdict.run_id
    attempt = old.settle("train")
    assert attempt.reused.run_id == computed
    assert old.tags(attempt.run_id)["phase.reused_run_id"] == computed
    assert [run.reused_run_id for run in old.history().recent("train") if run.reused_run_id] == [computed, computed]


def test_its_outputs_verify(old, tmp_path):
    run = old.run(old.decide("train").verdict.run_id)
    assert (fetch_outputs(old.client, run, tmp_path / "cache") / "result.txt").read_text() == "operators"


def test_an_added_parameter_at_its_default_is_asked_about_once_and_orphans_nothing(old):
    old.edit("MLproject", "      device:", "      batch: {type: int, default: 8}\n      device:")
    old.edit("MLproject", "--device {device}", "--batch {batch} --device {device}")
    assert old.action("train") == ("ask", "assumed")
    assert old.action("train", batch=16)[0] == "run"
    kept = old.settle("train", decide="reuse").reused
    assert old.action("train") == ("reuse", "assumed")
    assert old.decide("train").verdict.run_id == kept.run_id


def test_its_question_is_still_open_with_its_options(old):
    asking = next(run for run in old.history().recent("train") if run.question)
    options = asking.question["options"]
    assert [(option["letter"], option["decide"]) for option in options] == [("A", "reuse"), ("B", "rerun")]
    assert options[1]["throws_away"][0]["quality"] == 0.8
    assert old.action("train", epochs=30) == ("ask", "borderline")


def test_its_quarantine_holds(old):
    verdict = old.decide("collect", seed=9).verdict
    assert verdict.action == "ask"  # running it would leave the finished pipeline behind
    marked = next(run for run in old.history().recent("collect") if run.quarantined)
    assert marked.quarantined == "wrong data"
    assert marked.run_id not in {verdict.run_id, old.latest("collect")}


def test_its_interrupted_run_is_resumed(old):
    verdict = old.decide("train", epochs=50).verdict
    assert verdict.action == "resume"
    assert old.run(verdict.run_id).checkpoint == "step-000040"


def test_what_hangs_on_a_phase_is_known(old):
    verdict = old.decide("collect", decide="rerun").verdict
    assert [loss.phase for loss in verdict.invalidates] == ["collect", "train"]


def test_estimates_rest_on_its_durations(old):
    assert old.decide("train", epochs=20).verdict.estimate.runs == 2


def test_its_runs_can_be_compared_by_what_they_kept(old):
    of_10, of_30 = (
        next(run for run in old.history().computed("train") if run.complete and run.parameters["epochs"] == epochs)
        for epochs in ("10", "30")
    )
    view = compare_runs(old.client, of_10, of_30)
    assert not view["code"]["recorded"]
    assert view["code"]["summary"] == "the code is the same"
    assert view["sentence"] == "epochs 10 -> 30; 3x as long"  # Its thresholds are not kept in it.
