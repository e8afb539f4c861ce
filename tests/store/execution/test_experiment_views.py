"""An experiment with phases in MLflow's own UI."""

import json

from mlflow_plugin.execution.experiment_views import KIND, SAVED_VIEW, TRAINING_RUNS, view_tag


def tags_of(demo):
    return dict(demo.client.get_experiment("0").tags)


def test_people_land_on_the_training_runs_unless_somebody_chose_otherwise(demo):
    demo.compute("collect")
    assert tags_of(demo)[KIND] == TRAINING_RUNS
    demo.client.set_experiment_tag("0", KIND, "genai_development")
    demo.compute("collect", seed=1)
    assert tags_of(demo)[KIND] == "genai_development"


def test_each_phase_gets_a_saved_view_with_the_columns_by_which_its_runs_are_compared(demo):
    demo.compute("collect")
    project = demo.history().project
    content = json.loads(tags_of(demo)[view_tag(project, project.phases["train"])])
    assert content["name"] == "train (demo): quality, time and cost"
    columns = json.loads(content["state"])["selectedColumns"]
    assert columns[:4] == [
        "tags.`phase.verdict`",
        "metrics.`fidelity`",
        "metrics.`held_out`",
        "metrics.`phase.duration_seconds`",
    ]
    assert "params.`epochs`" in columns
    assert "params.`device`" not in columns  # It changes no result.
    assert json.loads(content["state"])["orderByKey"] == "metrics.`fidelity`"
    wanted = json.loads(content["state"])["searchFilter"]
    demo.compute("train")
    assert [run.phase for run in demo.history().search(wanted)] == ["train"]


def test_a_view_that_somebody_removed_or_changed_stays_so(demo):
    demo.compute("collect")
    views = sorted(key for key in tags_of(demo) if key.startswith(SAVED_VIEW))
    assert len(views) == 3
    demo.client.set_experiment_tag("0", views[0], "changed")
    demo.client._tracking_client.store.delete_experiment_tag("0", views[1])
    demo.compute("collect", seed=1)
    after = tags_of(demo)
    assert (after[views[0]], views[1] in after, views[2] in after) == ("changed", False, True)
