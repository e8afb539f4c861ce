"""Lost and found: what was thrown away by whom and why, what must not be used, and what could be gone on from."""

import json

from mlflow_plugin.reports.views.recoverable import recoverable_view


def view(demo) -> dict:
    return json.loads(json.dumps(recoverable_view(demo.history()), allow_nan=False))


def test_nothing_is_lost_where_nothing_was_run(demo):
    assert view(demo) == {"thrown_away": [], "quarantined": [], "resumable": [], "deleted": []}


def test_what_was_thrown_away_says_when_by_whom_and_why_with_its_quality_and_cost(demo):
    demo.compute("collect", "one")
    trained = demo.compute("train", seconds=600.0)
    by = demo.compute("collect", "two")
    lost = {one["run"]["phase"]: one for one in view(demo)["thrown_away"]}
    train = lost["train"]
    assert (train["run"]["run_id"], train["run"]["quality"], train["run"]["duration_seconds"]) == (trained, 0.9, 600.0)
    assert (train["by"]["run_id"], train["when"]) == (by, demo.run(by).completed_at.isoformat())
    assert train["who"] == demo.run(by).user
    assert train["why"].startswith(f"collect {by[:8]} of 20")
    assert "changed what train is made from: re-run because decide=rerun was given" in train["why"]
    assert "took its place: " in lost["collect"]["why"]


def test_who_answered_the_question_is_who_threw_it_away(demo):
    demo.compute("collect", "one")
    demo.compute("train")
    by = demo.compute("collect", "two")
    demo.client.set_tag(by, "phase.answered_by", "ada")
    assert {one["who"] for one in view(demo)["thrown_away"]} == {"ada"}


def test_what_took_a_place_and_was_deleted_since_is_said_to_be_gone(demo):
    demo.compute("collect", "one")
    by = demo.compute("collect", "two")
    demo.client.delete_run(by)
    (found,) = view(demo)["thrown_away"]
    assert (found["by"], found["who"]) == (None, None)
    assert found["why"] == f"run {by[:8]}, which is deleted by now, took its place"


def test_a_quarantined_run_shows_all_that_hangs_on_it(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    demo.records.quarantine(collected, "wrong data")
    (found,) = view(demo)["quarantined"]
    assert (found["run"]["run_id"], found["why"]) == (collected, "wrong data")
    assert [run["run_id"] for run in found["hangs_on_it"]] == [evaluated, trained]


def test_an_interrupted_run_with_a_checkpoint_says_how_to_go_on(demo):
    demo.compute("collect")
    run_id, _ = demo.start("train", epochs=20)
    assert view(demo)["resumable"] == []
    demo.records.checkpoint(run_id, "step-000040")
    assert view(demo)["resumable"] == []  # It is still computing.
    demo.die(run_id)
    (found,) = view(demo)["resumable"]
    assert (found["run"]["run_id"], found["checkpoint"], found["step"]) == (run_id, "step-000040", 40)
    assert found["command"] == "mlflow run . -e train -b phases -P epochs=20"
    assert found["sentence"].startswith(f"train {run_id[:8]} of 20")
    assert found["sentence"].endswith("stopped at step 40; it can go on from step-000040")


def test_what_was_done_anew_or_went_on_elsewhere_is_not_offered_again(demo):
    taken, _ = demo.start("collect")
    repeated, _ = demo.start("collect", seed=1)
    for run_id in (taken, repeated):
        demo.records.checkpoint(run_id, "step-000001")
        demo.records.fail(run_id, "killed", status="KILLED")
    assert len(view(demo)["resumable"]) == 2
    demo.client.set_tag(taken, "mlflow.phase.heir", repeated)
    assert [one["run"]["run_id"] for one in view(demo)["resumable"]] == [repeated]
    demo.compute("collect", seed=1)
    assert view(demo)["resumable"] == []


def test_a_deleted_run_can_be_found_again(demo):
    run_id = demo.compute("collect")
    demo.client.delete_run(run_id)
    (found,) = view(demo)["deleted"]
    assert (found["run_id"], found["phase"]) == (run_id, "collect")
