"""The pipeline view: every state, both runs of every input, and the way to bring it up to date."""

import json

import pytest

from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store import schema
from mlflow_plugin.store.declaration import declared_projects
from mlflow_plugin.store.history import NO_EXPERIMENT, History

BORDERLINE = {"fidelity": 0.8, "held_out": 0.8}
POOR = {"fidelity": 0.1, "held_out": 0.8}
PHASES = ("collect", "train", "evaluate")


def view(demo, history: History | None = None) -> dict:
    """The view as a browser gets it: what JSON cannot hold fails here."""
    return json.loads(json.dumps(pipeline_view(history or demo.history()).to_json(), allow_nan=False))


def phases(demo) -> dict[str, dict]:
    return {phase["phase"]: phase for phase in view(demo)["phases"]}


def states(demo) -> list[str]:
    return [phase["state"] for phase in view(demo)["phases"]]


def finish_all(demo) -> dict[str, str]:
    return {phase: demo.compute(phase) for phase in PHASES}


def heartbeat(demo, run_id: str, **told: object) -> None:
    """Lets a run tell how it is, as a living process of this machine."""
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps({**new_heartbeat(40), "total": 100, **told}))


# --- states ---


def test_a_finished_pipeline_is_up_to_date_throughout_and_needs_no_update(demo):
    made = finish_all(demo)
    found = view(demo)
    assert [phase["state"] for phase in found["phases"]] == ["up to date"] * 3
    assert [phase["run"]["run_id"] for phase in found["phases"]] == list(made.values())
    assert [phase["update"] for phase in found["phases"]] == [None] * 3
    assert (found["summary"]["sentence"], found["summary"]["update"]) == ("all 3 phases are up to date.", None)


def test_a_pipeline_that_was_never_run_is_missing_and_says_how_to_run_it(demo):
    found = view(demo)
    assert [phase["state"] for phase in found["phases"]] == ["missing"] * 3
    assert found["phases"][0]["update"]["command"] == "mlflow run . -e collect -b phases"
    assert found["summary"]["update"]["command"] == "mlflow run . -e main -b phases"
    assert found["summary"]["update"]["sentence"] == (
        "Run collect, then train, then evaluate; there is no earlier run to estimate the time from. "
        "That supersedes no good run."
    )


def test_an_experiment_that_does_not_exist_yet_is_missing_too(demo):
    history = History(demo.client, NO_EXPERIMENT, demo.request("collect").project)
    found = view(demo, history)
    assert found["experiment"] == {"id": "", "name": None}
    assert {phase["state"] for phase in found["phases"]} == {"missing"}


def test_a_phase_that_depends_on_a_stale_one_is_invalidated_although_its_own_input_is_the_latest(demo):
    made = finish_all(demo)
    demo.compute("collect", "other data")
    found = phases(demo)
    assert [phase["state"] for phase in found.values()] == ["up to date", "stale", "invalidated"]
    assert found["evaluate"]["inputs"][0]["matches"] is True
    why = f"train {made['train'][:8]}, which it was made from, is stale itself"
    assert found["evaluate"]["remarks"] == [why]


def test_a_superseded_run_is_invalidated_until_the_later_one_is_quarantined(demo):
    finish_all(demo)
    first, later = demo.compute("evaluate", "one"), demo.compute("evaluate", "two")
    pointer = json.dumps({"phase": "evaluate", "run_id": first, "grade": "good"})
    demo.client.set_experiment_tag("0", schema.LATEST + schema.phase_key("demo", "evaluate"), pointer)
    demo.client.set_tag(first, schema.INVALIDATED_BY, later)
    evaluate = phases(demo)["evaluate"]
    assert (evaluate["state"], evaluate["run"]["invalidated_by"]) == ("invalidated", later)
    assert evaluate["remarks"][0].startswith(f"evaluate {later[:8]} of ")
    demo.records.quarantine(later, "wrong data")
    assert phases(demo)["evaluate"]["state"] == "up to date"


def test_going_back_to_the_earlier_input_brings_its_results_up_to_date_again(demo):
    demo.compute("collect", "one", seed=0)
    demo.compute("train")
    demo.compute("collect", "two", seed=1)
    assert states(demo)[:2] == ["up to date", "stale"]
    demo.settle("collect", seed=0)
    assert states(demo)[:2] == ["up to date", "up to date"]


@pytest.mark.parametrize(
    ("metrics", "state", "grade"),
    [
        (BORDERLINE, "borderline", "borderline"),
        (POOR, "poor", "poor"),
        ({"fidelity": 0.9, "held_out": 0.1}, "gate failed", "gate"),
        ({"fidelity": float("nan"), "held_out": 0.8}, "quality unknown", "unknown"),
        ({"held_out": 0.8}, "quality unknown", "unknown"),
    ],
)
def test_a_result_that_is_not_good_says_so_without_numbers_that_json_cannot_hold(demo, metrics, state, grade):
    demo.compute("collect")
    demo.compute("train", metrics=metrics)
    train = phases(demo)["train"]
    assert (train["state"], train["run"]["grade"]) == (state, grade)
    assert train["update"]["phases"] == ["train"]


def test_quality_and_gates_are_shown_against_their_bounds(demo):
    demo.compute("collect")
    demo.compute("train", metrics={"fidelity": 0.9, "held_out": 0.1})
    train = phases(demo)["train"]
    assert train["quality"] == {
        "metric": "fidelity",
        "value": 0.9,
        "grade": "good",
        "good": 0.85,
        "poor": 0.7,
        "higher_is_better": True,
    }
    assert train["gates"] == [{"text": "held_out > 0.5", "passed": False}]
    assert train["run"]["gate_failures"] == ["gate 'held_out > 0.5' failed: 0.1 against 0.5"]
    assert train["run"]["metrics"] == {"fidelity": 0.9, "held_out": 0.1}


def test_a_running_phase_shows_how_far_it_is_beside_its_last_good_result(demo):
    good = demo.compute("collect")
    run_id, _ = demo.start("collect", seed=1)
    heartbeat(demo, run_id, since_step=1.0, seconds_per_step=2.0, process_percent=98.0, gpu_percent=71.0)
    collect = phases(demo)["collect"]
    assert (collect["state"], collect["run"]["run_id"], collect["update"]) == ("running", good, None)
    live = collect["live"]
    assert (live["run_id"], live["step"], live["total"], live["eta_seconds"]) == (run_id, 40, 100, 120.0)
    assert (live["steps_per_second"], live["process_percent"], live["gpu_percent"]) == (0.5, 98.0, 71.0)
    assert live["heartbeat_age_seconds"] < 5


def test_a_phase_that_runs_for_the_first_time_has_nothing_else_to_show(demo):
    run_id, _ = demo.start("collect")
    collect = phases(demo)["collect"]
    assert (collect["state"], collect["run"]["run_id"], collect["run"]["grade"]) == ("running", run_id, None)


def test_a_process_that_lives_without_a_step_is_stuck_and_one_that_stands_still_is_stopped(demo, monkeypatch):
    run_id, _ = demo.start("collect")
    heartbeat(demo, run_id, since_step=900.0, process_percent=0.1)
    assert phases(demo)["collect"]["state"] == "stuck"
    monkeypatch.setattr("mlflow_plugin.reports.status.whereabouts", lambda heartbeat: "stopped")
    assert phases(demo)["collect"]["state"] == "stopped"


def test_an_interrupted_phase_shows_its_checkpoint_and_the_command_that_resumes_it(demo):
    demo.compute("collect")
    demo.compute("train", seconds=60.0)
    run_id, _ = demo.start("train", epochs=20)
    demo.records.checkpoint(run_id, "step-000040")
    demo.die(run_id)
    train = phases(demo)["train"]
    assert (train["state"], train["live"]["state"]) == ("interrupted", "interrupted")
    assert train["remarks"][-1].endswith(" from step-000040")
    assert train["update"]["command"] == "mlflow run . -e train -b phases -P epochs=20"


def test_an_interruption_counts_no_more_once_a_later_run_succeeded(demo):
    run_id, _ = demo.start("collect", seed=1)
    demo.die(run_id)
    demo.compute("collect")
    assert phases(demo)["collect"]["state"] == "up to date"


def test_a_failed_phase_says_why(demo):
    run_id, _ = demo.start("collect")
    demo.records.fail(run_id, "the disk is full")
    collect = phases(demo)["collect"]
    assert (collect["state"], collect["remarks"]) == ("failed", [f"{run_id[:8]}: the disk is full"])
    assert collect["update"]["command"] == "mlflow run . -e collect -b phases"


def test_a_question_that_waits_shows_as_asking(demo):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    decision = demo.decide("train")
    run_id = demo.records.create(decision.request)
    demo.records.ask(run_id, decision)
    found = view(demo)
    train = found["phases"][1]
    assert (train["state"], train["live"]["state"], train["update"]) == ("asking", "asking", None)
    assert [question["run_id"] for question in found["questions"]] == [run_id]


def test_a_quarantined_result_says_why_and_is_mentioned_beside_an_older_one_that_counts_instead(demo):
    old, new = demo.compute("collect", "one"), demo.compute("collect", "two")
    demo.records.quarantine(new, "wrong data")
    collect = phases(demo)["collect"]
    assert (collect["state"], collect["run"]["run_id"]) == ("up to date", old)
    assert collect["remarks"] == [f"collect {new[:8]} is quarantined: wrong data"]
    demo.records.quarantine(old, "wrong data too")
    collect = phases(demo)["collect"]
    assert (collect["state"], collect["run"]["quarantined"]) == ("quarantined", "wrong data")
    assert collect["update"]["command"] == "mlflow run . -e collect -b phases"


# --- edges ---


def test_an_edge_that_does_not_match_names_both_runs_with_their_times(demo):
    used = demo.compute("collect", "one")
    demo.compute("train")
    latest = demo.compute("collect", "two")
    edge = phases(demo)["train"]["inputs"][0]
    assert (edge["need"], edge["matches"]) == ("collect", False)
    assert (edge["used"]["run_id"], edge["latest"]["run_id"]) == (used, latest)
    assert edge["used"]["completed_at"] < edge["latest"]["completed_at"]
    assert edge["sentence"].startswith(f"made from collect {used[:8]} of 20")
    assert f" UTC; the latest collect is {latest[:8]} of 20" in edge["sentence"]


def test_an_edge_to_another_run_that_gave_the_same_bytes_matches(demo):
    demo.compute("collect")
    demo.compute("train")
    latest = demo.compute("collect")
    edge = phases(demo)["train"]["inputs"][0]
    assert (edge["matches"], edge["latest"]["run_id"]) == (True, latest)
    assert edge["sentence"].endswith("gave the same bytes")


def test_an_edge_without_two_ends_is_unknown(demo):
    assert phases(demo)["train"]["inputs"] == [
        {"need": "collect", "matches": None, "used": None, "latest": None, "sentence": "there is no collect yet"}
    ]
    used = demo.compute("collect")
    demo.compute("train")
    demo.client.delete_run(used)
    edge = phases(demo)["train"]["inputs"][0]
    assert (edge["matches"], edge["used"]["run_id"], edge["used"]["completed_at"]) == (None, used, None)


# --- updates ---


def test_the_update_of_a_stale_phase_lists_phases_price_and_superseded_runs(demo):
    demo.compute("collect", "one")
    train, evaluate = demo.compute("train", seconds=600.0), demo.compute("evaluate", seconds=60.0)
    demo.compute("collect", "two")
    plan = phases(demo)["train"]["update"]
    assert (plan["phases"], plan["seconds"]) == (["train", "evaluate"], 660.0)
    cost = sum(demo.run(run_id).cost_usd for run_id in (train, evaluate))
    assert plan["cost_usd"] == pytest.approx(cost)
    assert [run["run_id"] for run in plan["superseded"]] == [train, evaluate]
    assert plan["superseded"][0]["sentence"].startswith(f"train {train[:8]}, fidelity 0.9, finished 20")
    assert plan["command"] == "mlflow run . -e main -b phases -P decide=rerun"
    assert plan["sentence"].startswith("Run train, then evaluate: about 11 min and $0.02. That supersedes 2 runs: ")
    assert phases(demo)["evaluate"]["update"] == plan


def test_superseded_runs_are_in_the_order_of_the_pipeline(demo):
    demo.edit("MLproject", "    phase: {}", "    phase: {quality: {metric: rows, good: 10, poor: 5}}")
    superseded = [demo.compute("collect", metrics={"rows": 7}), demo.compute("train"), demo.compute("evaluate")]
    plan = phases(demo)["collect"]["update"]
    assert [run["run_id"] for run in plan["superseded"]] == superseded


def test_the_price_is_what_the_runs_cost_where_they_ran_not_what_this_machine_would(demo, monkeypatch):
    demo.compute("collect", "one")
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "36")
    demo.compute("train", seconds=100.0)
    demo.compute("collect", "two")
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "3600")
    assert phases(demo)["train"]["update"]["cost_usd"] == pytest.approx(1.0)


def test_a_price_follows_the_size_of_the_run_that_is_to_be_updated(demo):
    demo.compute("collect", "one")
    demo.compute("train", seconds=100.0, epochs=10)
    demo.compute("train", "more", seconds=200.0, epochs=20)
    demo.compute("collect", "two")
    plan = phases(demo)["train"]["update"]
    assert (plan["seconds"], plan["command"]) == (200.0, "mlflow run . -e train -b phases -P epochs=20 -P decide=rerun")


def test_one_command_updates_several_phases_only_when_it_would_run_them_as_they_were(demo):
    demo.compute("collect", "one", seed=3)
    demo.compute("train")
    demo.compute("evaluate")
    demo.compute("collect", "two", seed=4)
    command = view(demo)["summary"]["update"]["command"]
    assert command == "mlflow run . -e main -b phases -P seed=4 -P decide=rerun"
    demo.edit("MLproject", "    pipeline: [evaluate]", "    pipeline: [train]")
    command = view(demo)["summary"]["update"]["command"]
    assert command == (
        "mlflow run . -e train -b phases -P decide=rerun && mlflow run . -e evaluate -b phases -P decide=rerun"
    )


def test_a_command_for_an_experiment_that_is_not_the_default_names_it(demo):
    demo.experiment_id = demo.client.create_experiment("other")
    command = view(demo)["phases"][0]["update"]["command"]
    assert command == f"mlflow run . -e collect -b phases --experiment-id {demo.experiment_id}"


def test_updating_a_phase_without_a_good_run_supersedes_good_runs_made_from_it(demo):
    demo.compute("collect")
    train = demo.compute("train", metrics=BORDERLINE)
    evaluate = demo.compute("evaluate")
    found = phases(demo)
    assert [phase["state"] for phase in found.values()] == ["up to date", "borderline", "up to date"]
    assert [run["run_id"] for run in found["train"]["update"]["superseded"]] == [train, evaluate]


# --- the whole ---


def test_the_summary_of_very_many_phases_names_the_first_few(demo):
    entries = "".join(f"  part{number}:\n    command: echo\n    phase: {{}}\n" for number in range(20))
    (demo.folder / "MLproject").write_text(f"name: wide\nentry_points:\n{entries}")
    sentence = view(demo)["summary"]["sentence"]
    assert "part0, part1, part2, part3, part4, part5 and 14 more are missing" in sentence
    assert "Run part0, then part1, then part2, then part3, then part4, then part5 and 14 more;" in sentence


def test_the_summary_is_a_sentence_with_the_stale_phases_and_the_update(demo):
    demo.compute("collect", "one")
    demo.compute("train", seconds=600.0)
    demo.compute("evaluate", seconds=60.0)
    demo.compute("collect", "two")
    summary = view(demo)["summary"]
    assert summary["sentence"] == (
        "1 of 3 phases is up to date; train is stale; evaluate is invalidated. "
        "Run train, then evaluate: about 11 min and $0.02. That supersedes 2 runs."
    )
    assert (summary["stale"], summary["up_to_date"]) == (["train", "evaluate"], 1)


def test_the_view_needs_no_mlproject_file_only_what_the_experiment_declares(demo):
    finish_all(demo)
    demo.compute("collect", "two")
    from_file = view(demo)
    project = declared_projects(demo.client.get_experiment("0").tags)["demo"]
    from_store = view(demo, History(demo.client, "0", project))
    assert from_store | {"at": ""} == from_file | {"at": ""}


def test_runs_of_other_projects_in_the_experiment_change_nothing(demo):
    finish_all(demo)
    before = view(demo)
    for number in range(60):
        demo.client.create_run("0", run_name=f"foreign {number}")
    after = view(demo)
    assert after | {"at": ""} == before | {"at": ""}


def test_a_question_that_somebody_wrote_by_hand_breaks_nothing(demo):
    run_id, _ = demo.start("collect")
    odd = {"options": [{"letter": "A", "seconds": "soon", "throws_away": [{"phase": 1}, 3]}, 7, {}], "reasons": 4}
    demo.client.set_tag(run_id, schema.QUESTION, json.dumps(odd))
    demo.client.set_tag(run_id, schema.VERDICT, "ask")
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps({**new_heartbeat(), "step": "many", "total": [1]}))
    found = view(demo)
    assert [option["letter"] for option in found["questions"][0]["options"]] == ["A"]
    assert found["phases"][0]["live"]["step"] is None
