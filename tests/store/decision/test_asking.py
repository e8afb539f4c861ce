"""When a run is asked about, and what becomes of the answer: superseded runs, variants, runs beside, kept runs."""

import shutil

import pytest

from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import local_folder

BORDERLINE = {"fidelity": 0.8, "held_out": 0.8}
INCIDENT = {"fidelity": 0.989, "held_out": 0.8}
ELEVEN_MINUTES = 660.0


@pytest.fixture(autouse=True)
def ninety_cents_an_hour(monkeypatch):
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "0.89")


def edited(demo, file: str = "train.py") -> None:
    text = (demo.folder / file).read_text()
    (demo.folder / file).write_text(text + f"print({len(text)})\n")


def again(demo, phase: str, output: str, metrics=None, seconds: float = 12.0, **given) -> str:
    """Resolve a phase that must not ask, compute it, and return its run."""
    resolution = demo.settle(phase, **given)
    assert resolution.reused is None
    demo.finish(resolution.run_id, resolution.decision, {"result.txt": output}, metrics or {}, seconds)
    return resolution.run_id


# --- what it costs to give up ---


@pytest.mark.parametrize("with_report", [False, True])
def test_editing_the_code_of_the_last_phase_asks_when_its_good_run_was_costly(demo, with_report):
    demo.compute("collect")
    model = demo.compute("train", metrics=INCIDENT, seconds=ELEVEN_MINUTES)
    if with_report:
        demo.compute("evaluate", seconds=1.0)
    edited(demo)
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "downstream", model)
    assert [run.phase for run in verdict.invalidates] == ["train", "evaluate"][: 1 + with_report]
    assert f"would supersede train {model[:8]}" in verdict.reasons[0]
    assert any("the code of train.py" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("with_report", [False, True])
def test_new_inputs_ask_when_the_good_run_was_costly(demo, with_report):
    demo.compute("collect", "one")
    model = demo.compute("train", metrics=INCIDENT, seconds=ELEVEN_MINUTES)
    if with_report:
        demo.compute("evaluate", seconds=1.0)
    demo.compute("collect", "two")
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "stale", model)


def test_dollars_count_as_minutes_do(demo, monkeypatch):
    demo.compute("collect")
    demo.compute("train", seconds=60.0)
    edited(demo)
    assert demo.action("train") == ("run", "nothing")
    monkeypatch.setenv("MLFLOW_PHASES_PRICE_PER_HOUR", "60")
    demo.compute("train", seconds=60.0)
    edited(demo)
    assert demo.action("train") == ("ask", "downstream")


def test_several_cheap_runs_are_costly_together(demo):
    demo.compute("collect")
    demo.compute("train", seconds=150.0)
    edited(demo)
    assert demo.action("train") == ("run", "nothing")
    demo.edit("train.py", f"print({len('print(2)' + chr(10))})\n", "")
    demo.compute("evaluate", seconds=151.0)
    edited(demo)
    assert demo.action("train") == ("ask", "downstream")


def test_an_unknown_amount_is_asked_about(demo):
    demo.compute("collect")
    model = demo.compute("train", seconds=1.0)
    edited(demo)
    assert demo.action("train") == ("run", "nothing")
    demo.client.log_metric(model, schema.DURATION_SECONDS, float("nan"))
    assert demo.action("train") == ("ask", "downstream")


def test_the_environment_and_the_phase_say_above_what_it_asks(demo, monkeypatch):
    demo.compute("collect")
    demo.compute("train", seconds=ELEVEN_MINUTES)
    edited(demo)
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "20")
    assert demo.action("train") == ("run", "nothing")
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
    assert demo.action("train") == ("ask", "downstream")
    monkeypatch.delenv("MLFLOW_PHASES_ASK_ABOVE")
    demo.edit("MLproject", "      size: [epochs]\n", "      size: [epochs]\n      ask_above: {minutes: 20, usd: 1}\n")
    assert demo.action("train") == ("run", "nothing")
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "soon")
    with pytest.raises(UsageError, match="MLFLOW_PHASES_ASK_ABOVE='soon' is not a number of minutes"):
        demo.decide("train")


def test_a_cheap_run_says_what_it_supersedes_and_marks_it(demo, capsys):
    demo.compute("collect")
    model, report = demo.compute("train", seconds=5.0), demo.compute("evaluate", seconds=7.0)
    edited(demo)
    new = again(demo, "train", "another", INCIDENT)
    said = f"this supersedes train {model[:8]} and makes evaluate {report[:8]} stale; computing them again takes 12 s"
    assert said in capsys.readouterr().err
    assert said in demo.tags(new)["phase.reason"]
    assert demo.latest("train") == new
    assert [demo.tags(run).get("phase.invalidated_by") for run in (model, report)] == [new, new]


def test_cheap_runs_that_were_superseded_before_do_not_add_up(demo):
    demo.compute("collect")
    demo.compute("train", seconds=1.0)
    for number in range(4):
        edited(demo, "evaluate.py")
        again(demo, "evaluate", f"report {number}", seconds=140.0)
    edited(demo)
    assert demo.action("train") == ("run", "nothing")


@pytest.mark.parametrize(
    "metrics", [BORDERLINE, {"fidelity": 0.2}, {"held_out": 0.8}, {"fidelity": 0.9, "held_out": 0.1}]
)
def test_a_worse_result_does_not_become_the_latest_unasked(demo, metrics):
    demo.compute("collect")
    model, report = demo.compute("train", seconds=5.0), demo.compute("evaluate", seconds=1.0)
    edited(demo)
    again(demo, "train", "worse", metrics)
    assert demo.latest("train") == model
    assert not any("phase.invalidated_by" in demo.tags(run) for run in (model, report))
    verdict = demo.decide("train").verdict
    if metrics != {"fidelity": 0.2}:
        assert verdict.action == "ask"
        assert any(f"train {model[:8]}" in reason and "is the latest" in reason for reason in verdict.reasons)


def test_an_edited_data_file_of_the_same_name_supersedes_the_run_and_is_no_variant(demo):
    device = "      device: {type: string, default: auto}\n"
    demo.edit("MLproject", device, device + "      rows: {type: path, default: rows.csv}\n")
    (demo.folder / "rows.csv").write_text("1\n2\n")
    demo.compute("collect")
    model = demo.compute("train", metrics=INCIDENT, seconds=ELEVEN_MINUTES)
    (demo.folder / "rows.csv").write_text("1\n")
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.run_id) == ("ask", model)
    assert verdict.option("beside") is None


# --- variants, and runs beside ---


def test_a_new_value_runs_without_a_question_where_nothing_depends_on_the_old_one(demo):
    demo.compute("collect")
    old = demo.compute("train", epochs=10, seconds=ELEVEN_MINUTES)
    assert demo.action("train", epochs=20) == ("run", "nothing")
    again(demo, "train", "twenty", INCIDENT, epochs=20)
    assert "phase.invalidated_by" not in demo.tags(old)
    assert demo.decide("train", epochs=10).verdict.run_id == old


@pytest.fixture
def three(demo):
    """Return the demo with a costly model of 10 epochs and a report on it."""
    demo.compute("collect")
    demo.model = demo.compute("train", epochs=10, seconds=ELEVEN_MINUTES)
    demo.report = demo.compute("evaluate", seconds=ELEVEN_MINUTES)
    return demo


def test_the_question_about_a_variant_offers_to_run_it_beside(three):
    verdict = three.decide("train", epochs=20).verdict
    assert (verdict.action, verdict.kind) == ("ask", "downstream")
    assert [option.decide for option in verdict.options] == ["reuse", "rerun", "beside", "fail"]
    assert [run.run_id for run in verdict.invalidates] == [three.report]
    assert "stays valid for its own parameters and is found again with them" in verdict.reasons[-1]


def beside(demo, metrics=INCIDENT, **given) -> str:
    run_id = again(demo, "train", "beside", metrics, decide="beside", **{"epochs": 20, **given})
    assert demo.tags(run_id)[schema.BESIDE] == "decide=beside"
    return run_id


def test_a_run_beside_leaves_latest_and_what_was_built_on_it(three):
    run_id = beside(three)
    assert three.latest("train") == three.model
    assert not any("phase.invalidated_by" in three.tags(run) for run in (three.model, three.report))
    assert three.action("evaluate") == ("reuse", "same")
    edited(three, "collect.py")
    assert run_id not in {run.run_id for run in three.decide("collect").verdict.invalidates}


def test_a_run_beside_is_never_the_newest_good_run(demo):
    demo.compute("collect")
    run_id = beside(demo)
    assert demo.latest("train") is None
    assert demo.tags(demo.settle("train", epochs=20, decide="beside").run_id)["phase.reused_run_id"] == run_id
    assert demo.latest("train") is None


def test_a_run_beside_is_found_by_its_identity_and_then_moves_latest(demo):
    demo.compute("collect")
    old = demo.compute("train", epochs=10, seconds=ELEVEN_MINUTES)
    run_id = beside(demo)
    reused = demo.settle("train", epochs=20, decide="beside")
    assert (reused.reused.run_id, demo.latest("train")) == (run_id, old)
    reused = demo.settle("train", epochs=20)
    assert (reused.reused.run_id, demo.latest("train")) == (run_id, run_id)
    assert schema.BESIDE not in demo.tags(run_id)


def test_moving_latest_to_a_run_beside_is_asked_about_when_costly_runs_become_stale(three):
    run_id = beside(three)
    verdict = three.decide("train", epochs=20).verdict
    assert (verdict.action, verdict.kind) == ("ask", "beside")
    with pytest.raises(NeedsAnswer):
        three.settle("train", epochs=20)
    kept = three.settle("train", epochs=20, decide="reuse")
    assert (kept.reused.run_id, three.latest("train")) == (three.model, three.model)
    moved = three.settle("train", epochs=20, decide="rerun", in_pipeline=True)
    assert (moved.reused.run_id, three.latest("train")) == (run_id, run_id)
    assert three.tags(three.report)["phase.invalidated_by"] == run_id
    assert three.action("train", epochs=20) == ("reuse", "same")


def test_what_is_built_on_a_run_beside_by_its_id_is_beside_too(three):
    run_id = beside(three)
    report = again(three, "evaluate", "on the other", train_run_id=run_id)
    assert three.tags(report)[schema.BESIDE] == f"train {run_id[:8]} was run beside"
    assert three.latest("evaluate") == three.report
    assert three.settle("evaluate", train_run_id=run_id).reused.run_id == report
    assert three.latest("evaluate") == three.report


def test_the_answer_to_run_beside_is_executed(three, monkeypatch):
    monkeypatch.setattr(
        "sys.stdin", type("Terminal", (), {"isatty": lambda self: True, "readline": lambda self: "C\n"})()
    )
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("mlflow_plugin.execution.prompt._typed", lambda seconds: True)
    resolution = three.settle("train", epochs=20)
    three.finish(resolution.run_id, resolution.decision, {"result.txt": "x"}, INCIDENT, 1.0)
    tags = three.tags(resolution.run_id)
    assert (tags["phase.answer"], tags[schema.BESIDE].startswith("chosen by ")) == ("C", True)
    assert three.latest("train") == three.model


# --- answers that were given before ---


def test_a_run_that_was_kept_is_not_asked_about_again(three):
    edited(three)
    assert three.action("train")[0] == "ask"
    three.settle("train", decide="reuse")
    verdict = three.decide("train").verdict
    assert (verdict.action, verdict.run_id) == ("reuse", three.model)
    assert verdict.reasons[-1].startswith("kept by ")
    assert three.settle("train").reused.run_id == three.model
    edited(three)
    assert three.action("train")[0] == "ask"


def test_a_borderline_run_that_was_kept_counts_until_it_is_quarantined(demo):
    demo.compute("collect")
    run_id = demo.compute("train", metrics=BORDERLINE)
    demo.settle("train", decide="reuse")
    assert demo.action("train") == ("reuse", "borderline")
    assert demo.settle("train").reused.run_id == run_id
    assert demo.latest("train") == run_id
    demo.records.quarantine(run_id, "wrong data")
    assert demo.action("train") == ("run", "nothing")


def test_a_kept_run_that_lost_its_files_is_asked_about_again(three):
    edited(three)
    three.settle("train", decide="reuse")
    (local_folder(three.run(three.model).artifact_uri) / "outputs" / "result.txt").unlink()
    assert three.decide("train").verdict.action != "reuse"


def test_an_answer_before_does_not_stand_against_a_wish_to_run_again(three):
    edited(three)
    three.settle("train", decide="reuse")
    assert three.settle("train", decide="rerun").reused is None


def test_old_inputs_that_were_accepted_are_asked_about_again_when_they_are_older_by_max_age(demo, monkeypatch):
    demo.edit("MLproject", "      needs: [collect]\n", "      needs: [collect]\n      max_age: 1h\n")
    collected = demo.compute("collect")
    demo.compute("train")

    def aged(hours: float) -> None:
        from datetime import UTC, datetime, timedelta

        demo.client.set_tag(collected, schema.COMPLETED_AT, (datetime.now(UTC) - timedelta(hours=hours)).isoformat())

    aged(1.2)
    assert demo.action("train") == ("ask", "old")
    demo.settle("train", decide="reuse")
    aged(1.7)
    assert demo.action("train") == ("reuse", "old")
    aged(2.2)
    assert demo.action("train") == ("ask", "old")


# --- parameters that were added, and ignored ones ---

DROPOUT = (
    "      device: {type: string, default: auto}\n",
    "      device: {type: string, default: auto}\n      dropout: {type: float, default: 0.1}\n",
)


def test_a_parameter_that_was_added_is_asked_about_once(demo):
    demo.compute("collect")
    run_id = demo.compute("train")
    demo.edit("MLproject", *DROPOUT)
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "assumed", run_id)
    assumed = f"train {run_id[:8]} has no parameter `dropout`; it is assumed that it used the default 0.1"
    assert assumed in verdict.reasons
    assert demo.decide("train", dropout=0.1).verdict.kind == "assumed"
    assert demo.decide("train", dropout=0.2).verdict.action == "run"
    demo.settle("train", decide="reuse")
    assert demo.action("train") == ("reuse", "assumed")


def test_a_parameter_that_was_added_under_ignore_is_not_asked_about(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", *DROPOUT)
    demo.edit("MLproject", "ignore: [device]", "ignore: [device, dropout]")
    assert demo.action("train") == ("reuse", "same")


def test_a_run_without_assumptions_is_preferred(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", *DROPOUT)
    known = demo.compute("train", dropout=0.1)
    assert demo.decide("train").verdict.run_id == known
    assert demo.action("train") == ("reuse", "same")


def test_a_parameter_that_is_ignored_from_now_on_no_longer_tells_old_runs_apart(demo):
    demo.compute("collect")
    demo.edit("MLproject", "ignore: [device]", "ignore: []")
    on_gpu = demo.compute("train", device="gpu")
    demo.compute("train", epochs=3)  # Another run is the newest.
    demo.edit("MLproject", "ignore: []", "ignore: [device]")
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.run_id) == ("reuse", on_gpu)


def test_a_parameter_that_counts_from_now_on_counts_with_the_value_that_was_used(demo):
    demo.compute("collect")
    on_gpu = demo.compute("train", device="gpu")
    demo.edit("MLproject", "ignore: [device]", "ignore: []")
    verdict = demo.decide("train").verdict
    assert verdict.action == "run"
    assert any("device (gpu -> auto)" in reason for reason in verdict.reasons)
    verdict = demo.decide("train", device="gpu").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("reuse", "same", on_gpu)


# --- a crash at the end, and two generations ---


def crashed(demo, **given) -> str:
    run_id, _ = demo.start("train", **given)
    demo.records.checkpoint(run_id, "step-000090")
    demo.records.fail(run_id, "ZeroDivisionError: division by zero")
    return run_id


def test_the_checkpoint_from_before_an_edit_is_offered(demo):
    demo.compute("collect")
    run_id = crashed(demo)
    assert demo.action("train") == ("resume", "interrupted")
    edited(demo)
    verdict = demo.decide("train").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "edited", run_id)
    assert "it differs in the code of train.py" in verdict.reasons
    resumed = demo.settle("train", decide="reuse")
    assert resumed.resumed_from().run_id == run_id
    assert demo.tags(resumed.run_id)["phase.resumed_from"] == run_id
    assert demo.tags(resumed.run_id)["phase.verdict"] == "resume"


def test_starting_over_after_an_edit_leaves_the_checkpoint(demo):
    demo.compute("collect")
    crashed(demo)
    edited(demo)
    over = demo.settle("train", decide="rerun")
    assert (over.resumed_from(), over.reused) == (None, None)


def test_a_checkpoint_of_other_parameters_or_inputs_is_not_offered(demo):
    demo.compute("collect", "one")
    crashed(demo)
    edited(demo)
    assert demo.action("train", epochs=3) == ("run", "nothing")
    demo.compute("collect", "two")
    assert demo.action("train") == ("run", "nothing")


def test_a_checkpoint_that_a_complete_run_came_after_is_not_offered(demo):
    demo.compute("collect")
    crashed(demo)
    edited(demo)
    demo.compute("train", metrics={"fidelity": 0.1})
    edited(demo)
    assert demo.action("train") == ("run", "nothing")


DIAMOND = """\
name: diamond
entry_points:
  a: {command: "python a.py", phase: {}}
  b: {command: "python b.py", phase: {needs: [a]}}
  c: {command: "python c.py", phase: {needs: [a]}}
  d: {command: "python d.py", phase: {needs: [b, c]}}
"""


@pytest.fixture
def diamond(demo):
    (demo.folder / "MLproject").write_text(DIAMOND)
    for phase in "abcd":
        (demo.folder / f"{phase}.py").write_text("print(1)\n")
    for phase in "abc":
        demo.compute(phase, f"first {phase}")
    return demo


def test_inputs_of_two_generations_are_asked_about(diamond):
    first = diamond.latest("a")
    diamond.compute("d", "first d")
    second = diamond.compute("a", "second a")
    diamond.compute("b", "second b")
    verdict = diamond.decide("d").verdict
    assert (verdict.action, verdict.kind) == ("ask", "generations")
    assert f"b {diamond.latest('b')[:8]} was made from a {second[:8]} of " in verdict.reasons[0]
    assert f"c {diamond.latest('c')[:8]} was made from a {first[:8]} of " in verdict.reasons[0]
    assert verdict.options[1].title == "Stop, and update c first"
    with pytest.raises(NeedsAnswer, match=r"For that: mlflow run .* -e c"):
        diamond.settle("d")
    assert diamond.settle("d", decide="reuse").reused is None


def test_the_same_bytes_are_the_same_generation(diamond):
    diamond.compute("a", "first a")
    diamond.compute("b", "second b")
    assert diamond.action("d") == ("run", "nothing")


def test_an_input_that_is_older_than_what_another_one_was_made_from_is_named(diamond):
    diamond.edit("MLproject", "needs: [b, c]", "needs: [a, b]")
    diamond.compute("a", "second a")
    verdict = diamond.decide("d").verdict
    assert verdict.kind == "generations"
    assert "is an input, b" in verdict.reasons[0]
    assert verdict.options[1].renews == ("b",)


# --- files and runs that are not here ---


def test_nothing_is_computed_because_a_disk_is_missing(three):
    root = local_folder(three.run(three.model).artifact_uri).parent.parent
    root.rename(root.with_name("elsewhere"))
    verdict = three.decide("train").verdict
    assert (verdict.action, verdict.kind, verdict.run_id) == ("ask", "unseen", three.model)
    assert f"{root} is missing or empty here" in verdict.reasons[1]
    with pytest.raises(PhaseError, match="bring back"):
        three.settle("train", decide="reuse")
    root.mkdir()  # As the folder that a disk is mounted on.
    assert three.action("train") == ("ask", "unseen")
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert three.action("train") == ("reuse", "same")
    shutil.rmtree(local_folder(three.run(three.model).artifact_uri).parent)
    assert three.action("train") == ("run", "nothing")


def test_an_input_on_a_missing_disk_is_no_reason_to_compute_it_again(three):
    root = local_folder(three.run(three.model).artifact_uri).parent.parent
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(PhaseError, match="Mount it or move it back"):
        three.settle("train", epochs=20, decide="rerun")


def test_a_deleted_run_that_can_be_restored_is_named(demo):
    demo.compute("collect")
    run_id = demo.compute("train")
    demo.client.delete_run(run_id)
    verdict = demo.decide("train").verdict
    assert verdict.action == "run"
    assert f"`mlflow runs restore --run-id {run_id}` brings it back" in verdict.reasons[-1]
    demo.client.restore_run(run_id)
    assert demo.action("train") == ("reuse", "same")
