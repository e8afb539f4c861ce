"""The parameters that a pipeline hands to its phases, and the results that it does not build on."""

import pytest

from mlflow_plugin.backends import pipeline
from mlflow_plugin.backends.execution import ExecutionSettings
from mlflow_plugin.backends.local import launch_locally
from mlflow_plugin.backends.pipeline import run_pipeline
from mlflow_plugin.decision.facts import superseded_run
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.pipeline_parameters import check_parameters, parameters_for_phase

MLPROJECT = """
entry_points:
  collect: {parameters: {rows: int}, command: "python collect.py {rows}", phase: }
  train: {command: "python train.py", phase: {needs: [collect]}}
  main: {parameters: {rows: {type: int, default: 5}}, pipeline: [train]}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "MLproject").write_text(MLPROJECT, encoding="utf-8")
    return load_project(tmp_path)


@pytest.mark.parametrize(
    ("phase", "given", "expected"),
    [
        ("collect", {}, {"rows": 5}),
        ("collect", {"rows": "7", "collect_run_id": "c0ffee"}, {"rows": "7"}),
        ("train", {"rows": "7"}, {}),
        ("train", {"collect_run_id": "c0ffee"}, {"collect_run_id": "c0ffee"}),
        ("train", {"decide": "reuse", "price_per_hour": "2"}, {"decide": "reuse", "price_per_hour": "2"}),
    ],
)
def test_a_phase_is_handed_its_own_parameters_its_pins_and_the_plugins(project, phase, given, expected):
    assert parameters_for_phase(project.pipelines["main"], project.phases[phase], given) == expected


def test_a_parameter_that_no_phase_has_is_refused_with_those_there_are(project):
    with pytest.raises(UsageError, match=r"main has no parameter 'row'\. Its parameters: collect_run_id, decide"):
        check_parameters(project, project.pipelines["main"], {"row": 1})


GRADES = {
    "good": {"fidelity": 0.9, "held_out": 0.8},
    "borderline": {"fidelity": 0.8, "held_out": 0.8},
    "poor": {"fidelity": 0.1, "held_out": 0.8},
    "gate": {"fidelity": 0.9, "held_out": 0.1},
    "unknown": {"held_out": 0.8},
}


@pytest.fixture
def run_demo(demo, monkeypatch):
    """Return a function that runs the pipeline, in which every phase is computed at once and `train` comes out with
    these metrics; it returns the parent run's id.
    """

    def run(metrics: dict, supersedes: bool = False, requests: list[Request] | None = None, **given: object) -> str:
        requests = [] if requests is None else requests

        def compute(request, settings, launch) -> Outcome:
            phase = request.phase.name
            requests.append(request)
            run_id = demo.compute(phase, metrics=metrics if phase == "train" else {})
            gives_up = (superseded_run(request.phase, demo.run(run_id)),) if supersedes and phase == "train" else ()
            verdict = Verdict(phase, "run", ("changed",), kind="nothing", invalidates=gives_up)
            return Outcome(verdict, run_id, demo.run(run_id))

        monkeypatch.setattr(pipeline, "execute_phase", compute)
        invocation = Invocation(demo.folder, "main", given)
        settings = ExecutionSettings()
        project = load_project(demo.folder)
        return run_pipeline(project, "main", given, demo.client, "0", settings, launch_locally, invocation)

    return run


@pytest.mark.parametrize("grade", ["good", "borderline"])
def test_a_pipeline_goes_on_with_a_result_that_is_good_enough(demo, run_demo, grade):
    parent = run_demo(GRADES[grade])
    assert demo.client.get_run(parent).info.status == "FINISHED"
    assert demo.history().recent("evaluate", 1)[0].complete


@pytest.mark.parametrize(
    ("grade", "why"),
    [
        ("poor", "fidelity 0.1 (poor)"),
        ("gate", "gate 'held_out > 0.5' failed: 0.1 against 0.5"),
        ("unknown", "metric 'fidelity' was never logged"),
    ],
)
def test_a_pipeline_builds_nothing_on_a_result_that_just_came_out_unusable(demo, run_demo, grade, why):
    with pytest.raises(NeedsAnswer) as error:
        run_demo(GRADES[grade])
    trained = demo.history().recent("train", 1)[0].run_id
    message = str(error.value)
    assert message.startswith("train was computed, and nothing was built on it: ")
    assert why in message
    assert message.endswith(f"-e evaluate -P train_run_id={trained}")
    assert demo.history().recent("evaluate", 1) == []
    parent = demo.client.search_runs(["0"], "tags.`mlflow.project.entryPoint` = 'main'")[0]
    assert (parent.info.status, parent.data.tags["phase.reason"]) == ("FAILED", message)


def test_a_borderline_result_that_would_take_the_place_of_a_good_one_unasked_is_not_built_on(demo, run_demo):
    with pytest.raises(NeedsAnswer, match=r"nothing was built on it: its fidelity 0\.8 lies"):
        run_demo(GRADES["borderline"], supersedes=True)
    assert demo.history().recent("evaluate") == []


def test_each_phase_knows_which_phases_the_pipeline_computes_after_it(run_demo):
    requests: list[Request] = []
    run_demo(GRADES["good"], requests=requests)
    following = {request.phase.name: request.following for request in requests}
    assert following == {"collect": ("train", "evaluate"), "train": ("evaluate",), "evaluate": ()}


def test_the_command_to_go_on_with_an_unusable_result_keeps_what_the_next_phase_was_given(demo, run_demo):
    demo.edit("MLproject", 'command: "python evaluate.py"', PARAMETERS_OF_EVALUATE)
    with pytest.raises(NeedsAnswer, match=r"-e evaluate -P depth=3 -P train_run_id=\w{32}$"):
        run_demo(GRADES["poor"], epochs=10, depth=3)


PARAMETERS_OF_EVALUATE = """parameters:
      depth: {type: int, default: 1}
    command: "python evaluate.py --depth {depth}\""""


def test_the_last_phase_of_a_pipeline_may_come_out_as_it_likes(demo, run_demo):
    demo.edit("MLproject", "pipeline: [evaluate]", "pipeline: [train]")
    parent = run_demo(GRADES["poor"])
    assert demo.client.get_run(parent).info.status == "FINISHED"


def test_an_unusable_result_that_was_reused_because_a_person_kept_it_is_built_on(demo):
    project, kept = demo.request("train").project, demo.run(demo.compute("collect"))
    train, evaluate, main = project.phases["train"], project.phases["evaluate"], project.pipelines["main"]
    assert train.grade(kept.metrics) == "unknown"
    verdict, invocation = Verdict("train", "reuse", ("kept by ada",)), Invocation(demo.folder, "main")
    pipeline._check_usable(train, Outcome(verdict, "0" * 32, kept), [evaluate], main, invocation)
    with pytest.raises(NeedsAnswer):
        pipeline._check_usable(train, Outcome(verdict, kept.run_id, kept), [evaluate], main, invocation)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"epochs": "many"}, "train, a phase of main: parameter 'epochs' must be an integer, got 'many'"),
        ({"depth": "deep"}, "evaluate, a phase of main: parameter 'depth' must be an integer, got 'deep'"),
        ({"train_run_id": "0" * 32}, "evaluate, a phase of main: train_run_id=00000000"),
        ({"price_per_hour": "a lot"}, "collect, a phase of main: The given price per hour"),
    ],
    ids=["wrong type", "wrong type in the last phase", "unknown pin of the last phase", "no price"],
)
def test_the_parameters_of_all_phases_are_checked_before_the_first_one_starts(demo, run_demo, given, why):
    demo.edit("MLproject", 'command: "python evaluate.py"', PARAMETERS_OF_EVALUATE)
    with pytest.raises(PhaseError) as error:
        run_demo(GRADES["good"], **given)
    assert str(error.value).startswith(why)
    assert str(error.value).endswith("Nothing was started.")
    assert demo.client.search_runs(["0"]) == []


def test_the_run_of_a_pipeline_nests_below_the_one_that_is_active(demo):
    parent = demo.client.create_run("0").info.run_id
    run_id = demo.records.create_pipeline(load_project(demo.folder), "main", {}, "0", "phases", parent)
    assert demo.tags(run_id)["mlflow.parentRunId"] == parent
