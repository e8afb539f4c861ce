import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.request import Decision
from mlflow_plugin.decision.verdict import Verdict
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.tags import git_commit, superseded_runs
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.run_encoding import clipped

BETWEEN = {"fidelity": 0.8, "held_out": 0.8}
WRITES = ("log_batch", "set_tag", "set_experiment_tag", "delete_tag", "set_terminated", "log_artifact", "log_artifacts")


class Stopped(Exception):
    """Stands for a process that was killed."""


def watch(client: object, monkeypatch: pytest.MonkeyPatch, before: Callable[[str, tuple], None]) -> None:
    """Calls `before` with name and arguments ahead of every write to the store."""
    for name in WRITES:
        write = getattr(client, name)

        def watched(*args: object, _name: str = name, _write: Callable = write, **named: object) -> object:
            before(_name, (*args, *named.values()))
            return _write(*args, **named)

        monkeypatch.setattr(client, name, watched)


def snapshot(demo, run_id: str) -> tuple[dict, dict]:
    """All that the store holds of a run: the run itself, and its files by name."""
    run = demo.client.get_run(run_id)
    root = local_folder(run.info.artifact_uri)
    return run.to_dictionary(), {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


# --- computing ---


def test_a_computed_run_says_what_it_is_to_people_and_can_be_found_by_all_its_digests(demo):
    collected = demo.compute("collect")
    run_id, decision = demo.start("train")
    tags = demo.tags(run_id)
    assert (tags["phase.name"], tags["phase.project"], tags["phase.verdict"]) == ("train", "demo", "run")
    assert tags["phase.input.collect"] == collected
    assert tags["phase.reason"].startswith("re-run because decide=rerun was given")
    assert tags["phase.hardware"]
    assert tags["mlflow.project.entryPoint"] == "train"
    indexed = {
        *(f"mlflow.phase.identity.{digest}" for digest in decision.identity.digests()),
        *(f"mlflow.phase.config.{digest}" for digest in decision.identity.config_digests()),
        f"mlflow.phase.input.{collected}",
        f"mlflow.phase.runs.{schema.phase_key('demo', 'train')}",
    }
    assert {tags[key] for key in indexed} == {"1"}
    assert json.loads(tags["mlflow.phase.fingerprint"])["parameters"]["epochs"] == ["#10", "--epochs {epochs}"]
    assert "phase.completed_at" not in tags


def test_a_completed_run_has_its_duration_cost_digest_and_time(demo):
    run_id = demo.compute("collect", seconds=3600.0)
    run, tags = demo.client.get_run(run_id), demo.tags(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["phase.duration_seconds"] == 3600.0
    assert run.data.metrics["phase.cost_usd"] >= 0
    assert len(tags["phase.output_digest"]) == 64
    assert tags["phase.completed_at"].endswith("+00:00")
    assert json.loads(tags["mlflow.phase.outputs"])["sizes"] == {"result.txt": len("result of collect")}


def test_lineage_holds_all_that_a_run_was_made_from(demo):
    collected, trained, evaluated = (demo.compute(phase) for phase in ("collect", "train", "evaluate"))
    assert demo.run(trained).ancestors == {collected}
    assert demo.run(evaluated).ancestors == {collected, trained}
    assert demo.run(evaluated).inputs == {"train": trained}


def test_the_pointer_is_written_before_the_completion_marker_and_the_end_after_both(demo, monkeypatch):
    run_id, decision = demo.start("collect")
    written = []

    def note(name: str, args: tuple) -> None:
        keys = {entry.key for arg in args if isinstance(arg, list | tuple) for entry in arg if hasattr(entry, "key")}
        written.append("completed" if schema.COMPLETED_AT in keys else name)

    watch(demo.client, monkeypatch, note)
    demo.finish(run_id, decision, {"a": "1"}, {}, 1.0)
    assert written.index("set_experiment_tag") < written.index("completed") < written.index("set_terminated")
    assert written[-1] == "set_terminated"


def test_a_process_killed_at_any_write_leaves_a_store_in_which_nothing_is_found_half_done(demo, monkeypatch):
    good = demo.compute("collect", "good")
    demo.edit("collect.py", "print(1)", "print(10)")
    survived = 0
    for deadly in range(40):
        run_id, decision = demo.start("collect", seed=1)
        count = iter(range(1000))

        def maybe_die(name: str, args: tuple, count=count, deadly=deadly) -> None:
            if next(count) == deadly:
                raise Stopped

        with monkeypatch.context() as patched:
            watch(demo.client, patched, maybe_die)
            try:
                demo.finish(run_id, decision, {"a": "1"}, {}, 1.0)
                survived += 1
            except Stopped:
                demo.die(run_id)
        complete = demo.run(run_id).complete
        assert demo.latest("collect") == (run_id if complete else good)
        assert demo.action("collect", seed=1)[0] == ("reuse" if complete else "run")
        if survived:
            break
        demo.client.delete_run(run_id)
    assert survived == 1
    assert deadly >= 5


def test_a_poor_run_does_not_move_the_pointer(demo):
    demo.compute("collect")
    good = demo.compute("train", "good")
    demo.compute("train", "poor", {"fidelity": 0.1, "held_out": 0.8})
    assert demo.latest("train") == good


@pytest.mark.parametrize("metrics", [{"fidelity": 0.1, "held_out": 0.8}, {"fidelity": 0.9, "held_out": 0.1}, {}])
def test_a_run_that_nothing_will_be_built_on_invalidates_nothing(demo, metrics):
    demo.compute("collect")
    good, evaluated = demo.compute("train", "good"), demo.compute("evaluate")
    demo.compute("train", "unusable", metrics)
    assert [demo.run(run_id).invalidated_by for run_id in (good, evaluated)] == ["", ""]
    assert demo.action("evaluate") == ("reuse", "same")


@pytest.mark.parametrize("newer", ["of the same phase", "downstream"])
def test_a_run_that_a_newer_version_wrote_meanwhile_does_not_cost_the_one_that_ends(demo, newer):
    collected, _ = demo.compute("collect", "one"), demo.compute("train")
    run_id, decision = demo.start("collect", seed=1)
    written = collected if newer == "of the same phase" else demo.compute("evaluate")
    demo.client.set_tag(written, schema.FORMAT, "99")
    demo.finish(run_id, decision, {"result.txt": "two"}, {}, 1.0)
    run = demo.run(run_id)
    assert (run.complete, run.status) == (True, "FINISHED")


def test_runs_built_on_other_bytes_are_marked_as_invalidated_and_those_on_the_same_bytes_are_not(demo):
    demo.compute("collect", "bytes")
    trained, evaluated = demo.compute("train"), demo.compute("evaluate")
    demo.compute("collect", "bytes")
    assert [demo.run(run_id).invalidated_by for run_id in (trained, evaluated)] == ["", ""]
    newer = demo.compute("collect", "other bytes")
    assert [demo.run(run_id).invalidated_by for run_id in (trained, evaluated)] == [newer, newer]


def test_what_a_forced_run_takes_the_place_of_is_written_down(demo):
    demo.compute("collect")
    first = demo.compute("train", "one")
    second = demo.compute("train", "two")
    assert demo.tags(second)["mlflow.phase.supersedes"] == first
    assert demo.run(first).invalidated_by == second
    assert f"supersedes train {first[:8]}, fidelity 0.9" in demo.run(second).reason


def test_a_deleted_run_needs_no_mark(demo):
    gone = demo.compute("collect")
    demo.client.delete_run(gone)
    demo.records.invalidate([gone, "0" * 32], "1" * 32)
    assert schema.INVALIDATED_BY not in demo.tags(gone)


# --- reusing ---


def test_a_reuse_is_a_new_run_and_leaves_the_old_one_byte_for_byte_as_it_was(demo):
    demo.compute("collect")
    source = demo.compute("train", seconds=90.0)
    before = snapshot(demo, source)
    attempt = demo.settle("train")
    assert snapshot(demo, source) == before
    run = demo.client.get_run(attempt.run_id)
    assert attempt.run_id != source
    assert (run.info.status, run.data.tags["phase.verdict"]) == ("FINISHED", "reuse")
    assert run.data.tags["phase.reused_run_id"] == source
    assert run.data.tags["phase.output_digest"] == demo.run(source).output_digest
    assert run.data.tags["phase.input.collect"] == demo.run(source).inputs["collect"]
    assert run.data.metrics["phase.saved_seconds"] == 90.0
    assert run.data.metrics["fidelity"] == 0.9
    assert "phase.duration_seconds" not in run.data.metrics


def test_a_reuse_of_a_reuse_is_that_of_the_run_that_computed(demo):
    source = demo.compute("collect")
    runs = [demo.settle("collect").run_id for _ in range(3)]
    assert {demo.tags(run_id)["phase.reused_run_id"] for run_id in runs} == {source}


def test_using_an_invalidated_run_again_lifts_the_mark(demo):
    demo.compute("collect")
    first = demo.compute("train", "one", epochs=10)
    demo.records.invalidate([first], "1" * 32)
    demo.settle("train", epochs=10)
    assert demo.run(first).invalidated_by == ""


# --- questions ---


def test_a_question_is_recorded_with_its_options_and_left_open_when_nobody_answers(demo):
    demo.compute("collect")
    demo.compute("train", metrics=BETWEEN)
    with pytest.raises(NeedsAnswer):
        demo.settle("train")
    run = demo.history().recent("train", 1)[0]
    assert (run.status, run.verdict, run.answer) == ("FAILED", "ask", "")
    assert [option["letter"] for option in run.question["options"]] == ["A", "B", "C"]
    assert run.question["options"][1]["throws_away"][0]["quality"] == 0.8
    assert "a decision is needed" in run.reason


@pytest.mark.parametrize(("decide", "letter"), [("reuse", "A"), ("rerun", "B")])
def test_an_answer_is_recorded_with_who_gave_it(demo, decide, letter):
    demo.compute("collect")
    source = demo.compute("train", metrics=BETWEEN)
    attempt = demo.settle("train", in_pipeline=True, decide=decide)
    tags = demo.tags(attempt.run_id)
    assert tags["phase.answer"] == letter
    assert tags["phase.answered_by"].endswith(f"(decide={decide})")
    if decide == "reuse":
        assert (tags["phase.verdict"], tags["phase.reused_run_id"]) == ("reuse", source)
    else:
        assert (tags["phase.verdict"], tags["mlflow.phase.supersedes"]) == ("run", source)


def test_who_answered_is_known_before_the_answer_can_be_seen(demo, monkeypatch):
    run_id = demo.client.create_run("0").info.run_id
    seen = []
    watch(demo.client, monkeypatch, lambda name, args: seen.append([tag.key for tag in args[-1]]))
    demo.records.answer(run_id, "A", "ada")
    assert seen == [["phase.answered_by", "phase.answered_at"], ["phase.answer"]]


# --- failing, and other marks ---


def test_a_failed_run_keeps_what_it_logged_and_says_why(demo):
    run_id, decision = demo.start("collect")
    demo.client.log_text(run_id, "half", "half.txt")
    demo.records.fail(run_id, "the disk is full", decision)
    run = demo.client.get_run(run_id)
    assert (run.info.status, run.data.tags["phase.reason"]) == ("FAILED", "the disk is full")
    assert (local_folder(run.info.artifact_uri) / "half.txt").exists()
    assert not demo.run(run_id).complete


def test_the_reason_that_a_process_recorded_itself_is_not_overwritten(demo):
    run_id, _ = demo.start("collect")
    demo.records.fail(run_id, "the real reason")
    demo.records.end_unfinished(demo.run(run_id), "exit code 1")
    assert demo.run(run_id).reason == "the real reason"


def test_a_pipeline_adds_up_what_its_phases_took_and_saved(demo):
    project = demo.request("collect").project
    parent = demo.records.create_pipeline(project, "main", {"epochs": 20}, "0", "phases")
    computed = demo.compute("collect", seconds=30.0)
    reused = demo.settle("collect").run_id
    demo.records.end_pipeline(parent, [computed, reused])
    run = demo.client.get_run(parent)
    assert (run.info.status, run.data.params["epochs"]) == ("FINISHED", "20")
    assert (run.data.metrics["phase.duration_seconds"], run.data.metrics["phase.saved_seconds"]) == (30.0, 30.0)


def test_parameters_are_logged_as_mlflow_run_logs_them_however_many_and_hostile(demo):
    values = {f"p{number}": number for number in range(250)} | {"text": "it's; rm -rf $HOME\n", "empty": ""}
    run_id = demo.client.create_run("0").info.run_id
    demo.records.parameters(run_id, values)
    params = demo.client.get_run(run_id).data.params
    assert len(params) == 252
    assert params["text"] == "'it'\"'\"'s; rm -rf $HOME\n'"
    assert (params["p249"], params["empty"]) == ("249", "''")


@pytest.mark.parametrize("length", [7899, 7900, 7901, 100_000])
def test_text_that_is_too_long_for_a_tag_is_cut_and_says_so(demo, length):
    run_id = demo.client.create_run("0").info.run_id
    demo.records.quarantine(run_id, "x" * length)
    stored = demo.run(run_id).quarantined
    assert stored == clipped("x" * length)
    assert len(stored) <= 7900
    assert stored.endswith(" ... (cut)") == (length > 7900)


def test_a_tag_of_the_longest_length_is_stored_whole(demo):
    run_id = demo.client.create_run("0").info.run_id
    demo.client.set_tag(run_id, "t", "ü" * schema.TAG_LENGTH)
    assert demo.tags(run_id)["t"] == "ü" * schema.TAG_LENGTH


def test_superseded_are_the_runs_of_the_same_phase_alone(demo):
    demo.compute("collect")
    trained = demo.compute("train")
    demo.compute("evaluate")
    decision = demo.decide("train", decide="rerun")
    assert [loss.phase for loss in decision.verdict.invalidates] == ["train", "evaluate"]
    assert superseded_runs(decision) == {trained}
    quiet = Decision(decision.request, Verdict("train", "run", ("x",)), None, {}, decision.history)
    assert superseded_runs(quiet) == set()


def test_a_store_that_refuses_is_not_passed_over(demo):
    with pytest.raises(MlflowException):
        Records(demo.client).quarantine("0" * 32, "no such run")


def test_a_folder_outside_git_has_no_commit(tmp_path: Path):
    assert git_commit(tmp_path) == ""


def test_a_borderline_result_is_stored_under_the_word_of_the_first_format(demo):
    demo.compute("collect")
    run_id = demo.compute("train", metrics={"fidelity": 0.8, "held_out": 0.9})
    assert demo.history().pointer("train") == {"phase": "train", "run_id": run_id, "grade": "between"}
    with pytest.raises(PhaseError):
        demo.settle("train")
    asking = demo.history().recent("train", 1)[0]
    assert asking.question["kind"] == "between"
