"""A phase depends on the steps that its script started: their verdicts are asked for without running anything."""

from dataclasses import replace

import pytest

from mlflow_plugin.observation.calls import Call, Result
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.observation.variables import variable_digest
from mlflow_plugin.store import schema, traces
from mlflow_plugin.store.traces import keep_trace


def result_of(demo, run_id: str) -> Result:
    return Result(run_id, demo.run(run_id).output_digest)


@pytest.fixture
def called(demo) -> tuple[str, str]:
    """Compute train, and then evaluate, which has called train. Return both runs."""
    demo.compute("collect")
    trained = demo.compute("train")
    evaluated = demo.compute("evaluate")
    call = Call(".", "train", {"epochs": "10", "decide": "rerun"}, results={"train": result_of(demo, trained)})
    keep_trace(demo.client, evaluated, Trace("full", calls=(call,)))
    return trained, evaluated


def test_a_caller_is_reused_while_each_step_gives_the_run_that_it_gave_then(demo, called):
    trained, evaluated = called
    verdict = demo.decide("evaluate").verdict
    assert (verdict.action, verdict.run_id) == ("reuse", evaluated)
    assert verdict.observed.steps == (f"train: run {trained[:8]}",)
    assert demo.run(evaluated).steps == {"train": [trained]}


def test_a_caller_runs_and_names_the_step_and_its_reason_when_that_would_run(demo, called):
    demo.edit("train.py", "2", "4")
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "run"
    assert "read the result of the step train, which would run now: train" in verdict.reasons[0]
    assert "differs in the code of train.py" in verdict.reasons[0]
    assert demo.client.search_runs(["0"], f"tags.`{schema.VERDICT}` = 'ask'") == []


def test_a_step_that_asks_runs_its_caller_where_it_is_asked_again(demo, called):
    demo.edit("MLproject", "good: 0.85", "good: 0.95")
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "run"
    assert "the step train, which asks now: train" in verdict.reasons[0]


def test_another_run_of_a_step_counts_only_if_its_bytes_differ(demo, called):
    demo.compute("train")
    assert demo.decide("evaluate").verdict.action == "reuse"
    again = demo.compute("train", "other bytes")
    trained, evaluated = called
    findings = demo.decide("evaluate", train_run_id=trained).verdict.reasons[0]
    assert f"evaluate {evaluated[:8]}" in findings
    assert f"the step train, which was run {trained[:8]} and is run {again[:8]} now" in findings


def test_a_parameter_that_may_be_a_secret_is_taken_from_the_run_of_the_step(demo):
    demo.compute("collect")
    trained = demo.compute("train", epochs=12)
    evaluated = demo.compute("evaluate")
    call = Call(".", "train", results={"train": result_of(demo, trained)}, hidden=("epochs",))
    keep_trace(demo.client, evaluated, Trace("full", calls=(call,)))
    assert demo.decide("evaluate").verdict.action == "reuse"
    keep_trace(demo.client, evaluated, Trace("full", calls=(replace(call, hidden=("token",)),)))
    assert "no run shows the value of token" in demo.decide("evaluate").verdict.reasons[0]


def test_calls_that_differ_in_what_is_hidden_alone_are_asked_for_one_by_one(demo):
    demo.compute("collect")
    trained = [demo.compute("train", f"epochs {epochs}", epochs=epochs) for epochs in (12, 13)]
    calls = [Call(".", "train", results={"train": result_of(demo, one)}, hidden=("epochs",)) for one in trained]
    keep_trace(demo.client, demo.compute("evaluate"), Trace("full", calls=tuple(calls)))
    assert demo.decide("evaluate").verdict.action == "reuse"


def test_each_phase_of_a_pipeline_that_was_called_is_asked_for(demo):
    collected, trained = demo.compute("collect"), demo.compute("train")
    evaluated = demo.compute("evaluate")
    results = {"collect": result_of(demo, collected), "train": result_of(demo, trained)}
    demo.edit("MLproject", "pipeline: [evaluate]", "pipeline: [train]")
    keep_trace(demo.client, evaluated, Trace("full", calls=(Call(".", "main", results=results),)))
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "reuse"
    assert verdict.observed.steps == (f"main: run {collected[:8]}, run {trained[:8]}",)
    demo.edit("collect.py", "1", "5")
    assert "the step main, which would run now: collect" in demo.decide("evaluate").verdict.reasons[0]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (Call(".", "gone", results={"gone": Result("a" * 32)}), "there is no phase or pipeline 'gone'"),
        (Call("nowhere", "main", results={"main": Result("a" * 32)}), "there is no such folder"),
        (Call(".", "train", {"depth": "3"}, results={"train": Result("a" * 32)}), "train has no parameter 'depth'"),
        # A cycle, which only a forged trace has, ends at the second look.
        (Call(".", "evaluate", results={"evaluate": Result("a" * 32)}), "the step evaluate, which asks now"),
    ],
)
def test_a_step_that_cannot_be_asked_for_runs_its_caller(demo, called, call, reason):
    keep_trace(demo.client, called[1], Trace("full", calls=(call,)))
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "run"
    assert reason in verdict.reasons[0]


def test_a_folder_that_another_user_named_outside_the_project_is_not_looked_at(demo, called, tmp_path, monkeypatch):
    call = Call(str(tmp_path / "elsewhere"), "main", results={"main": Result("a" * 32)})
    monkeypatch.setattr(traces, "user", lambda: "somebody else")
    keep_trace(demo.client, called[1], Trace("full", calls=(call,)))
    monkeypatch.undo()
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "ask"
    assert any("lies outside the project, and another user named it" in reason for reason in verdict.reasons)


def test_a_path_into_the_artifacts_of_another_run_is_no_error_for_a_step(demo, called):
    demo.edit("MLproject", "      device: {type: string, default: auto}\n", "      device: {type: string}\n")
    demo.edit("MLproject", "ignore: [device]", "ignore: []")
    artifact = f"{demo.run(called[0]).artifact_uri}/result.txt"
    call = Call(".", "train", {"device": artifact}, results={"train": Result("a" * 32)})
    keep_trace(demo.client, called[1], Trace("full", calls=(call,)))
    reason = demo.decide("evaluate").verdict.reasons[0]
    assert "which would run now" in reason
    assert "is an artifact of" not in reason


def test_calls_of_two_segments_are_one_list(demo):
    first = Call(".", "train", {"epochs": "1"}, results={"train": Result("1" * 32)})
    other = Call(".", "train", {"epochs": "2"}, results={"train": Result("2" * 32)})
    again = replace(first, results={"train": Result("3" * 32)})
    merged = Trace("full", calls=(first,)).merged(Trace("full", calls=(other, again)))
    assert merged.calls == (again, other)


def test_a_step_is_asked_for_with_the_variables_that_the_script_of_its_caller_had_set(demo, called, monkeypatch):
    trained, evaluated = called
    monkeypatch.setenv("GONE", "there")
    value = variable_digest("d1.txt")
    keep_trace(demo.client, trained, Trace("full", variables={"DATA": value, "GONE": ""}))
    step = Call(".", "train", {"epochs": "10"}, results={"train": result_of(demo, trained)})
    keep_trace(demo.client, evaluated, Trace("full", calls=(replace(step, variables={"DATA": value, "GONE": ""}),)))
    assert demo.decide("evaluate").verdict.action == "reuse"
    assert demo.decide("train").verdict.action == "run"  # Asked for by itself, it has not these variables.
    keep_trace(demo.client, evaluated, Trace("full", calls=(step,)))
    assert "read the variable DATA" in demo.decide("evaluate").verdict.reasons[0]


def test_a_caller_that_went_on_without_a_step_that_failed_tries_it_again(demo, called):
    evaluated = called[1]
    keep_trace(demo.client, evaluated, Trace("full", calls=(Call(".", "train", {"epochs": "10"}),)))
    verdict = demo.decide("evaluate").verdict
    assert verdict.action == "run"
    assert "the result of the step train, which failed then" in verdict.reasons[0]


@pytest.mark.parametrize("code", ["mlflow.run('step')", "from mlflow.projects import run", "mlflow.projects.run('.')"])
def test_a_run_without_a_trace_says_that_its_steps_are_not_asked_for(demo, code):
    demo.edit("collect.py", "print(1)", f"import mlflow\n{code}")
    demo.compute("collect")
    reasons = "; ".join(demo.decide("collect").verdict.reasons)
    assert "what it read was not recorded; the steps that it starts by mlflow.run are not asked for" in reasons
    demo.edit("MLproject", "phase: {}", "phase: {observe: none}")
    reasons = "; ".join(demo.decide("collect").verdict.reasons)
    assert "(observe: none); the steps that it starts by mlflow.run are not asked for" in reasons
    demo.compute("train")
    assert "steps" not in "; ".join(demo.decide("train").verdict.reasons)
