"""The state of a pipeline, and the tables that show it."""

import json
import time

import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.cli.tables import status_table, verdict_text
from mlflow_plugin.decision.quality import quality_cell, quality_of
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.execution.activity import activity
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.reports.status import PhaseState, end_dead, pipeline_state
from mlflow_plugin.reports.tables import aligned, outcome_table
from mlflow_plugin.store.run import PhaseRun

BORDERLINE = {"fidelity": 0.8, "held_out": 0.8}


def states(demo) -> dict[str, PhaseState]:
    return {state.phase.name: state for state in pipeline_state(demo.request("collect").project, demo.history())}


def names(demo) -> list[str]:
    return [state.state for state in states(demo).values()]


def test_a_pipeline_that_was_never_run_is_missing_throughout(demo):
    assert names(demo) == ["missing", "missing", "missing"]


def test_a_finished_pipeline_is_up_to_date_and_matches_its_upstream(demo):
    for phase in ("collect", "train", "evaluate"):
        demo.compute(phase)
    found = states(demo)
    assert names(demo) == ["up to date", "up to date", "up to date"]
    assert [state.matches for state in found.values()] == ["", "yes", "yes"]
    assert [state.remarks for state in found.values()] == [(), (), ()]


def test_a_phase_whose_upstream_gave_other_bytes_is_stale_and_names_both_runs(demo):
    first = demo.compute("collect", "one")
    demo.compute("train")
    second = demo.compute("collect", "two")
    train = states(demo)["train"]
    assert (train.state, train.matches) == ("stale", "no")
    assert train.remarks[0].startswith(f"made from collect {first[:8]} of ")
    assert f"; the latest collect is {second[:8]} of " in train.remarks[0]


def test_a_phase_made_from_a_stale_one_is_invalidated_and_names_it(demo):
    demo.compute("collect", "one")
    trained = demo.compute("train")
    demo.compute("evaluate")
    demo.compute("collect", "two")
    evaluate = states(demo)["evaluate"]
    assert (evaluate.state, evaluate.matches) == ("invalidated", "yes")
    assert evaluate.remarks == (f"train {trained[:8]}, which it was made from, is stale itself",)
    assert "evaluate  invalidated" in status_table(list(states(demo).values()))


def test_an_input_that_is_older_than_the_phase_allows_is_a_remark(demo):
    demo.edit("MLproject", "phase: {needs: [train]}", "phase: {needs: [train], max_age: 1h}")
    demo.compute("collect")
    trained = demo.compute("train")
    demo.compute("evaluate")
    assert states(demo)["evaluate"].remarks == ()
    demo.client.set_tag(trained, "phase.completed_at", "2026-01-01T00:00:00+00:00")
    (remark,) = states(demo)["evaluate"].remarks
    assert remark.startswith(f"train {trained[:8]} is ")
    assert remark.endswith(" old; max_age is 1 h 00 min")


def test_an_upstream_that_was_run_again_and_gave_the_same_bytes_still_matches(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.compute("collect")
    assert states(demo)["train"].matches == "yes"


def test_reusing_a_pipeline_leaves_its_state_as_it_was(demo):
    demo.compute("collect")
    demo.compute("train")
    before = {name: state.to_dict() for name, state in states(demo).items()}
    demo.settle("collect")
    demo.settle("train")
    assert {name: state.to_dict() for name, state in states(demo).items()} == before


@pytest.mark.parametrize(
    ("metrics", "state", "remark"),
    [
        (BORDERLINE, "borderline", "its fidelity 0.8 lies between poor (0.7) and good (0.85)"),
        ({"fidelity": 0.1, "held_out": 0.8}, "poor", None),
        ({"fidelity": 0.9, "held_out": 0.1}, "gate failed", "gate 'held_out > 0.5' failed: 0.1 against 0.5"),
        ({"fidelity": float("nan"), "held_out": 0.8}, "quality unknown", "its quality is not known: metric 'fide"),
        ({"held_out": 0.8}, "quality unknown", "its quality is not known: metric 'fidelity' was never logged"),
    ],
)
def test_a_result_that_is_not_good_has_a_remark(demo, metrics, state, remark):
    demo.compute("collect")
    demo.compute("train", metrics=metrics)
    train = states(demo)["train"]
    assert train.state == state
    assert any(line.startswith(remark) for line in train.remarks) if remark else train.remarks == ()
    json.dumps(train.to_dict(), allow_nan=False)


def test_a_run_that_computes_is_running_and_one_that_was_killed_is_interrupted(demo):
    run_id, _ = demo.start("collect")
    running = states(demo)["collect"]
    assert (running.state, running.run.run_id) == ("running", run_id)
    assert "is running; last heartbeat" in running.remarks[0]
    demo.die(run_id)
    assert states(demo)["collect"].state == "interrupted"
    demo.records.checkpoint(run_id, "step-000040")
    interrupted = states(demo)["collect"]
    (remark,) = interrupted.remarks
    assert remark.startswith(f"{run_id[:8]} stopped at step 40 without ending; ")
    assert remark.endswith(" from step-000040")


HEARTBEAT = {"at": 1.8e9, "pid": 7, "host": "gpu1", "step": 40, "total": 100, "seconds_per_step": 2.0}
BUSY, IDLE = {"process_percent": 98.0, "gpu_percent": 71.0}, {"process_percent": 0.2, "gpu_percent": 0.0}


@pytest.mark.parametrize(
    ("heartbeat", "where", "alive", "silent", "state", "part"),
    [
        ({"since_step": 1, **BUSY}, "running", True, 3, "running", "usually one every 2 s; CPU 98% of a core, GPU 71%"),
        ({"since_step": 200, **BUSY}, "running", True, 3, "quiet", "no step was finished for 3 min 23 s, usually one"),
        ({"since_step": 900, **BUSY}, "running", True, 3, "quiet", "GPU 71%: busy, only quiet"),
        ({"since_step": 900, "process_percent": 1.0, "gpu_percent": 50.0}, "running", True, 3, "quiet", "only quiet"),
        ({"since_step": 100, **IDLE}, "running", True, 3, "quiet", "GPU 0%: idle, but not for long"),
        (
            {"since_step": 900, **IDLE},
            "running",
            True,
            3,
            "stuck",
            "it looks stuck. See where with `py-spy dump --pid 7`",
        ),
        ({"since_step": 1, **IDLE}, "running", True, 900, "stuck", "no step was finished for 15 min"),
        ({"since_step": 900, "seconds_per_step": 600.0, **IDLE}, "running", True, 3, "running", "every 10 min"),
        ({"since_step": 900}, "running", True, 3, "quiet", "busy, only quiet"),
        ({}, "elsewhere", True, 3, "running", "is running at step 40 of 100; last heartbeat 3 s ago"),
        ({"since_step": 1}, "stopped", True, 30, "stopped", "process 7 was stopped (SIGSTOP, Ctrl-Z or a debugger)"),
        ({"since_step": 1}, "stopped", False, 90, "dead", "without ending (process 7 stands still); "),
        ({"since_step": 1}, "gone", False, 30, "dead", "stopped at step 40 of 100 without ending; "),
    ],
)
def test_the_activity_of_a_run_is_a_state_and_a_sentence(heartbeat, where, alive, silent, state, part):
    run = PhaseRun("0123456789", "train", heartbeat=HEARTBEAT | heartbeat, checkpoint="step-000040")
    judged = activity(run, where, alive, silent)
    assert (judged.state, part in judged.sentence) == (state, True), judged.sentence


def test_looking_at_the_state_ends_dead_runs_of_this_machine_with_the_command_that_resumes_them(demo):
    project = demo.request("train").project
    demo.compute("collect")
    run_id, _ = demo.start("train", epochs=20)
    demo.records.checkpoint(run_id, "step-000040")
    demo.die(run_id)
    end_dead(demo.records, project, list(states(demo).values()))
    ended = demo.run(run_id)
    assert ended.status == "KILLED"
    assert " UTC at step 40; `mlflow run " in ended.reason
    assert ended.reason.endswith(" from step-000040")
    assert " -e train -P epochs=20` " in ended.reason
    assert states(demo)["train"].state == "interrupted"
    assert demo.action("train", epochs=20) == ("resume", "interrupted")


def test_looking_ends_no_run_of_another_machine_since_its_clock_may_be_wrong(demo):
    run_id, _ = demo.start("collect")
    heartbeat = {"at": time.time() - 3600, "host": "elsewhere", "boot": "another", "pid": 1, "began": 1.0}
    demo.client.set_tag(run_id, "mlflow.phase.heartbeat", json.dumps(heartbeat))
    found = states(demo)
    end_dead(demo.records, demo.request("train").project, list(found.values()))
    assert (found["collect"].state, demo.run(run_id).status) == ("interrupted", "RUNNING")


def test_a_user_that_may_only_read_sees_the_state_too(demo, monkeypatch):
    run_id, _ = demo.start("collect")
    demo.die(run_id)

    def refuse(*args: object, **named: object) -> None:
        raise MlflowException("Permission denied")

    for name in ("log_batch", "set_tag", "set_terminated"):
        monkeypatch.setattr(demo.client, name, refuse)
    end_dead(demo.records, demo.request("train").project, list(states(demo).values()))
    assert demo.run(run_id).status == "RUNNING"


def test_a_run_that_ended_well_between_two_looks_is_not_called_dead(demo):
    run_id, decision = demo.start("collect")
    seen = demo.run(run_id)
    demo.finish(run_id, decision, {"result.txt": "x"}, {}, 1.0)
    demo.records.presume_dead(seen, "nothing")
    assert (demo.run(run_id).status, demo.run(run_id).presumed_dead) == ("FINISHED", "")


def test_a_run_that_waits_for_an_answer_shows_the_command_that_answers(demo):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    decision = demo.decide("train")
    run_id = demo.records.create(decision.request)
    demo.records.ask(run_id, decision)
    train = states(demo)["train"]
    assert train.state == "asking"
    assert f"{run_id[:8]} waits for an answer: mlflow-phases answer {run_id} A" in train.remarks


def test_failed_and_quarantined_runs_are_states_with_a_reason(demo):
    run_id, _ = demo.start("collect")
    demo.records.fail(run_id, "the disk is full")
    failed = states(demo)["collect"]
    assert (failed.state, failed.remarks) == ("failed", (f"{run_id[:8]}: the disk is full",))
    marked = demo.compute("collect")
    demo.records.quarantine(marked, "wrong data")
    quarantined = states(demo)["collect"]
    assert quarantined.state == "quarantined"
    assert quarantined.remarks == (f"collect {marked[:8]} is quarantined: wrong data",)


def test_a_state_as_plain_values_holds_what_the_table_shows(demo):
    demo.compute("collect", seconds=30.0)
    run_id = demo.compute("train", seconds=90.0)
    content = states(demo)["train"].to_dict()
    assert content | {"completed_at": None, "cost_usd": None} == {
        "phase": "train",
        "state": "up to date",
        "run_id": run_id,
        "completed_at": None,
        "quality": 0.9,
        "matches_upstream": True,
        "duration_seconds": 90.0,
        "cost_usd": None,
        "remarks": [],
        "steps": [],
    }
    assert content["completed_at"].endswith("+00:00")
    assert states(demo)["collect"].to_dict()["matches_upstream"] is None


# --- tables ---


def test_the_table_has_a_line_for_each_phase_and_its_remarks_below(demo):
    demo.compute("collect", "one", seconds=30.0)
    run_id = demo.compute("train", metrics=BORDERLINE, seconds=90.0)
    lines = status_table(list(states(demo).values())).splitlines()
    assert lines[0].split("  ")[0] == "phase"
    assert lines[2].startswith("collect   up to date")
    assert lines[3].startswith("train     borderline")
    assert "fidelity 0.8 (borderline)  yes" in lines[3]
    assert "1 min 30 s" in lines[3]
    assert lines[3].endswith(run_id[:8])
    assert lines[4] == "evaluate  missing"
    assert lines[5:] == ["", "train: its fidelity 0.8 lies between poor (0.7) and good (0.85)"]


def test_columns_are_as_wide_as_their_content():
    assert aligned(("a", "bb"), [("xxx", "y"), ("", "")]) == "a    bb\n---  --\nxxx  y\n"


def test_the_closing_table_shows_what_was_computed_and_what_reuse_saved(demo):
    project = demo.request("collect").project
    collected = demo.compute("collect", seconds=660.0)
    reused = demo.settle("collect").run_id
    trained = demo.compute("train", seconds=90.0)
    rows = [
        (project.phase(phase), Outcome(Verdict(phase, action, ("x",)), run_id, demo.run(source)), demo.run(run_id))
        for phase, action, run_id, source in (
            ("collect", "reuse", reused, collected),
            ("train", "run", trained, trained),
        )
    ]
    lines = outcome_table(rows, 95.0).strip().splitlines()
    assert lines[2].split()[:2] == ["collect", "reuse"]
    assert "11 min saved" in lines[2]
    assert "(saved " in lines[2]
    assert lines[3].split()[:2] == ["train", "run"]
    assert "fidelity 0.9 (good)" in lines[3]
    assert lines[3].endswith(f"/#/experiments/0/runs/{trained}")
    assert lines[4].startswith("1 min 35 s in all; reuse saved 11 min and $")


def test_quality_is_shown_against_its_bounds_and_nothing_where_there_is_none(demo):
    project = demo.request("collect").project
    collected = demo.run(demo.compute("collect"))
    unknown = demo.run(demo.compute("train", metrics={}))
    assert quality_cell(project.phase("collect"), collected) == ""
    assert quality_cell(project.phase("train"), None) == ""
    assert quality_cell(project.phase("train"), unknown) == "fidelity unknown (unknown)"
    assert quality_of(project.phase("train"), unknown) is None


def test_a_verdict_is_told_with_its_reasons_and_what_to_expect(demo):
    demo.compute("collect")
    demo.compute("train", seconds=60.0)
    text = verdict_text(demo.decide("train", epochs=100).verdict)
    assert text.splitlines()[0] == "train: run"
    assert "differs in epochs (10 -> 100)" in text
    assert "expected: 10 min" in text
    assert "(from 1 earlier run)" in text


def test_a_question_is_told_with_its_options(demo):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    lines = verdict_text(demo.decide("train").verdict).splitlines()
    assert lines[0] == "train: ask"
    assert [line[:4] for line in lines if line.startswith(("  A)", "  B)"))] == ["  A)", "  B)"]
