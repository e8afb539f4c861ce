"""Superseded runs with the person and the reason, quarantined runs, and runs that can be resumed."""

import json

from mlflow_plugin.reports.views.recoverable import recoverable_view


def view(demo) -> dict:
    return json.loads(json.dumps(recoverable_view(demo.history()).to_json(), allow_nan=False))


def test_nothing_is_recoverable_where_nothing_was_run(demo):
    assert view(demo) == {"superseded": [], "quarantined": [], "resumable": [], "deleted": []}


def test_a_superseded_run_shows_time_person_and_reason_with_its_quality_and_cost(demo):
    demo.compute("collect", "one")
    trained = demo.compute("train", seconds=600.0)
    by = demo.compute("collect", "two")
    superseded = {one["run"]["phase"]: one for one in view(demo)["superseded"]}
    train = superseded["train"]
    assert (train["run"]["run_id"], train["run"]["quality"], train["run"]["duration_seconds"]) == (trained, 0.9, 600.0)
    assert (train["by"]["run_id"], train["when"]) == (by, demo.run(by).completed_at.isoformat())
    assert train["who"] == demo.run(by).user
    assert train["why"].startswith(f"collect {by[:8]} of 20")
    assert "changed an input of train: re-run because decide=rerun was given" in train["why"]
    assert "superseded it: " in superseded["collect"]["why"]


def test_the_person_who_answered_the_question_is_named_for_superseded_runs(demo):
    demo.compute("collect", "one")
    demo.compute("train")
    by = demo.compute("collect", "two")
    demo.client.set_tag(by, "phase.answered_by", "ada")
    assert {one["who"] for one in view(demo)["superseded"]} == {"ada"}


def test_a_superseding_run_that_was_deleted_since_is_said_to_be_deleted(demo):
    demo.compute("collect", "one")
    by = demo.compute("collect", "two")
    demo.client.delete_run(by)
    (found,) = view(demo)["superseded"]
    assert (found["by"], found["who"]) == (None, None)
    assert found["why"] == f"superseded by run {by[:8]}, which is deleted by now"


def test_a_quarantined_run_lists_the_runs_that_depend_on_it(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    demo.records.quarantine(collected, "wrong data")
    (found,) = view(demo)["quarantined"]
    assert (found["run"]["run_id"], found["why"]) == (collected, "wrong data")
    assert [run["run_id"] for run in found["depends_on_it"]] == [evaluated, trained]


def test_an_interrupted_run_with_a_checkpoint_shows_the_command_that_resumes_it(demo):
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
    assert found["sentence"].endswith("stopped at step 40; it is resumable from step-000040")


def test_a_run_that_was_repeated_or_resumed_elsewhere_is_not_offered_again(demo):
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


def test_a_deleted_run_is_listed(demo):
    run_id = demo.compute("collect")
    demo.client.delete_run(run_id)
    (found,) = view(demo)["deleted"]
    assert (found["run_id"], found["phase"]) == (run_id, "collect")
