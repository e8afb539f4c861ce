import json
from pathlib import Path

import pytest

import mlflow_plugin
from mlflow_plugin import PhaseError, UsageError, find_reusable, plan
from mlflow_plugin.decision.lookup import current_experiment
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store.history import NO_EXPERIMENT


def lookup(demo, phase: str, parameters: dict | None = None, **named: object):
    return find_reusable(demo.folder, phase, parameters, **named)


def contents(demo) -> tuple[int, dict]:
    runs = demo.client.search_runs(["0"])
    return len(runs), demo.client.get_experiment("0").tags


def test_every_public_name_can_be_imported():
    for name in mlflow_plugin.__all__:
        assert getattr(mlflow_plugin, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'find'"):
        mlflow_plugin.find  # noqa: B018


def test_a_finished_phase_is_found_with_its_quality_and_inputs(demo):
    collected, trained = demo.compute("collect"), demo.compute("train")
    verdict = lookup(demo, "train")
    assert (verdict.action, verdict.run_id, verdict.quality) == ("reuse", trained, 0.9)
    assert verdict.inputs == {"collect": collected}
    assert f"train {trained[:8]} of " in verdict.reasons[0]
    # The simulated run has no trace, so that nothing is known of what it read.
    assert verdict.reasons[0].endswith(": same parameters and code")
    assert verdict.reasons[1] == "what it read was not recorded"


def test_parameters_may_be_given_as_text_or_as_values(demo):
    demo.compute("collect")
    demo.compute("train", epochs=20)
    assert [lookup(demo, "train", {"epochs": epochs}).action for epochs in (20, "20", "2e1", 21)] == [
        "reuse",
        "reuse",
        "reuse",
        "run",
    ]


def test_the_lookup_writes_nothing(demo):
    demo.compute("collect")
    demo.compute("train", metrics={"fidelity": 0.8, "held_out": 0.8})
    before = contents(demo)
    assert lookup(demo, "collect").action == "reuse"
    assert lookup(demo, "train").action == "ask"
    assert lookup(demo, "collect", {"decide": "rerun"}).kind == "forced"
    assert len(plan(demo.folder).verdicts) == 3
    assert contents(demo) == before


def test_lost_outputs_are_noticed_and_made_again(demo):
    run_id = demo.compute("collect")
    path = Path(demo.run(run_id).artifact_uri.removeprefix("file://")) / "outputs" / "result.txt"
    path.unlink()
    verdict = lookup(demo, "collect")
    assert (verdict.action, verdict.kind) == ("run", "nothing")
    assert "lost its outputs: result.txt is gone" in verdict.reasons[0]


def test_an_interrupted_run_with_a_checkpoint_is_resumed_and_a_live_one_waited_for(demo):
    run_id, _ = demo.start("collect")
    assert (lookup(demo, "collect").action, lookup(demo, "collect").run_id) == ("wait", run_id)
    demo.die(run_id)
    assert lookup(demo, "collect").action == "run"
    demo.records.checkpoint(run_id, "step-000010")
    verdict = lookup(demo, "collect")
    assert (verdict.action, verdict.run_id) == ("resume", run_id)
    demo.records.quarantine(run_id, "wrong data")
    assert lookup(demo, "collect").action == "run"


def test_a_stale_run_is_asked_about_and_a_change_upstream_asks_before_it_happens(demo, ask_always):
    demo.compute("collect", "one")
    trained = demo.compute("train")
    upstream = lookup(demo, "collect", {"seed": 1})
    assert (upstream.action, upstream.kind) == ("ask", "downstream")
    assert [loss.run_id for loss in upstream.invalidates] == [trained]
    demo.compute("collect", "two", seed=1)
    stale = lookup(demo, "train")
    assert (stale.action, stale.kind, stale.run_id) == ("ask", "stale", trained)


def test_inputs_older_than_max_age_are_asked_about(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", "needs: [collect]", "needs: [collect]\n      max_age: 0.0000001d")
    assert (lookup(demo, "train").action, lookup(demo, "train").kind) == ("ask", "old")


def test_a_quarantined_upstream_is_never_built_on(demo):
    collected = demo.compute("collect")
    demo.compute("train")
    demo.records.quarantine(collected, "wrong data")
    verdict = lookup(demo, "train")
    assert (verdict.action, verdict.kind) == ("run", "missing")
    assert "collect must run first" in verdict.reasons[0]


def test_an_estimate_is_scaled_by_the_declared_sizes(demo):
    demo.compute("collect")
    demo.compute("train", seconds=60.0)
    assert lookup(demo, "train", {"epochs": 30}).estimate.seconds == 180.0


@pytest.mark.parametrize(
    ("phase", "parameters", "message"),
    [
        ("tune", {}, "there is no phase 'tune'. Phases: collect, train, evaluate"),
        ("train", {"epoch": 3}, "train has no parameter 'epoch'"),
        ("train", {"epochs": "x"}, "parameter 'epochs' must be an integer, got 'x'"),
        ("train", {"decide": "maybe"}, "decide='maybe' is not one of"),
        ("train", {"collect_run_id": "0" * 32}, "there is no such run in this tracking store"),
    ],
)
def test_a_wrong_request_is_refused_in_words(demo, phase, parameters, message):
    with pytest.raises(UsageError) as error:
        lookup(demo, phase, parameters)
    assert message in str(error.value)


def test_a_store_that_does_not_answer_is_told_in_one_message(demo, monkeypatch):
    from mlflow.exceptions import MlflowException

    def refuse(experiment_id: str) -> None:
        raise MlflowException("API request failed:\n connection refused")

    monkeypatch.setattr(demo.client, "get_experiment", refuse)
    for ask in (lambda: lookup(demo, "collect", client=demo.client), lambda: plan(demo.folder, client=demo.client)):
        with pytest.raises(PhaseError, match="the tracking store does not answer as it should: API request failed: c"):
            ask()


# --- plans ---


def test_a_plan_of_a_fresh_project_computes_everything(demo):
    found = plan(demo.folder)
    assert [(verdict.phase, verdict.action) for verdict in found.verdicts] == [
        ("collect", "run"),
        ("train", "run"),
        ("evaluate", "run"),
    ]
    assert (found.seconds, found.cost_usd) == (None, None)


def test_a_plan_of_a_finished_project_computes_nothing(demo):
    for phase in ("collect", "train", "evaluate"):
        demo.compute(phase)
    found = plan(demo.folder)
    assert {verdict.action for verdict in found.verdicts} == {"reuse"}
    assert found.command.startswith("mlflow run ")


def test_what_comes_after_a_computed_phase_is_said_to_be_decided_after_it(demo):
    demo.compute("collect")
    demo.compute("train", seconds=60.0)
    found = plan(demo.folder, parameters={"epochs": 20})
    assert [verdict.action for verdict in found.verdicts] == ["reuse", "run", "run"]
    assert found.verdicts[2].reasons == ("decided after train: computed unless train gives the same bytes as before",)
    assert found.seconds == 120.0


def test_what_comes_after_a_phase_that_is_waited_for_is_decided_after_it(demo):
    for phase in ("collect", "train", "evaluate"):
        demo.compute(phase)
    demo.start("train", epochs=20)
    found = plan(demo.folder, parameters={"epochs": 20})
    assert [(verdict.action, verdict.kind) for verdict in found.verdicts] == [
        ("reuse", "same"),
        ("wait", "live"),
        ("run", "after"),
    ]


def test_a_plan_of_one_phase_is_its_verdict(demo):
    demo.compute("collect")
    assert plan(demo.folder, "collect").verdicts == (lookup(demo, "collect"),)


def test_a_plan_holds_nothing_that_json_cannot(demo):
    demo.compute("collect", "one")
    demo.compute("train", metrics={"fidelity": float("nan"), "held_out": 0.8})
    text = json.dumps(plan(demo.folder).to_dict(), allow_nan=False)
    phases = json.loads(text)["phases"]
    assert (phases[1]["action"], phases[1]["quality"]) == ("ask", None)
    assert phases[1]["options"][1]["supersedes"][0]["finished_at"].endswith("+00:00")


def test_a_wrong_plan_is_refused_in_words(demo):
    with pytest.raises(UsageError, match=r"there is no phase or pipeline 'all'\. There are: main, collect, train"):
        plan(demo.folder, "all")
    with pytest.raises(UsageError, match="main has no parameter 'rows'"):
        plan(demo.folder, parameters={"rows": 3})


# --- the experiment ---


def test_the_experiment_is_the_one_that_mlflow_would_use(demo, monkeypatch):
    assert current_experiment(demo.client) == "0"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")
    assert current_experiment(demo.client) == "7"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "not yet there")
    assert current_experiment(demo.client) == NO_EXPERIMENT
    assert lookup(demo, "collect").action == "run"
    created = demo.client.create_experiment("not yet there")
    assert current_experiment(demo.client) == created


def test_runs_of_another_experiment_are_not_looked_at(demo):
    demo.compute("collect")
    other = demo.client.create_experiment("other")
    assert lookup(demo, "collect", experiment_id=other).action == "run"
    assert find_reusable(load_project(demo.folder), "collect", client=demo.client).action == "reuse"
