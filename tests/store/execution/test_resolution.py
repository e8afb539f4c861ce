"""Questions whose answer comes late, or cannot be executed."""

import itertools
import json
import threading
import time

import pytest
from mlflow.exceptions import MlflowException

from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Decision
from mlflow_plugin.decision.verdict import Option
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution import answers, resolution, waiting
from mlflow_plugin.execution.records import Records
from mlflow_plugin.machine.liveness import Watch
from mlflow_plugin.store import patience, schema
from mlflow_plugin.store.artifacts import local_folder

pytestmark = pytest.mark.usefixtures("ask_always")

BORDERLINE = {"fidelity": 0.8, "held_out": 0.8}


@pytest.fixture
def asked(demo, monkeypatch):
    """Return a function that answers questions, after `meanwhile()` while the first is open.

    It returns the list of what was asked: kind, and the answer that stood on the run by then.
    """

    def answer(meanwhile=lambda: None, decide: str = "reuse") -> list[tuple[str, str]]:
        questions = []

        def obtain_answer(request, verdict, run_id, read_answer, user):
            questions.append((verdict.kind, demo.tags(run_id).get("phase.answer", "")))
            assert len(questions) < 4, "the same thing is asked again and again"
            if len(questions) == 1:
                meanwhile()
            return Answer(verdict.option(decide), "ada")

        monkeypatch.setattr(resolution, "obtain_answer", obtain_answer)
        return questions

    return answer


def test_an_answer_is_carried_out_when_nothing_changed_meanwhile(demo, asked):
    demo.compute("collect")
    kept = demo.compute("train", metrics=BORDERLINE)
    questions = asked()
    found = demo.settle("train")
    assert questions == [("borderline", "")]
    assert found.reused.run_id == kept
    assert demo.tags(found.run_id)["phase.answered_by"] == "ada"


def test_a_store_that_is_away_for_a_while_does_not_end_a_question(demo, monkeypatch, capsys):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    looks = iter([MlflowException("away"), MlflowException("away"), Answer(Option("A", "reuse", "Keep"), "ada")])

    def look(client, run_id):
        found = next(looks)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(answers, "given_answer", look)
    monkeypatch.setattr(patience, "REPORT_EVERY_SECONDS", 0.0)
    monkeypatch.setattr("mlflow_plugin.execution.prompt.POLL_SECONDS", 0.01)
    found = demo.settle("train", decide="wait")
    assert demo.run(found.run_id).answered_by == "ada"
    assert "train: the tracking store does not answer; trying again" in capsys.readouterr().err


def test_a_store_that_stays_away_ends_the_question(demo, monkeypatch):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)

    def look(client, run_id):
        raise MlflowException("away")

    monkeypatch.setattr(answers, "given_answer", look)
    monkeypatch.setattr(patience, "STORE_AWAY_SECONDS", 0.0)
    with pytest.raises(MlflowException, match="away"):
        demo.settle("train", decide="wait")


def test_code_that_was_edited_while_a_question_was_open_is_asked_about_anew(demo, asked, capsys):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    demo.compute("evaluate")
    questions = asked(lambda: demo.edit("train.py", "print(2)", "print(20)"), decide="rerun")
    found = demo.settle("train")
    assert questions == [("borderline", ""), ("downstream", "")]
    assert found.reused is None
    assert found.decision.identity == demo.decide("train").identity
    assert "things changed while the question was open" in capsys.readouterr().err


def test_a_question_that_looks_the_same_about_other_code_is_asked_anew(demo, asked):
    demo.compute("collect")
    demo.compute("train")
    questions = asked(lambda: demo.edit("collect.py", "print(1)", "print(10)"), decide="rerun")
    found = demo.settle("collect", seed=1)
    assert questions == [("downstream", ""), ("downstream", "")]
    assert found.decision.identity == demo.decide("collect", seed=1).identity


def test_a_run_that_was_quarantined_while_the_question_was_open_is_not_kept(demo, asked):
    demo.compute("collect")
    kept = demo.compute("train", metrics=BORDERLINE)
    questions = asked(lambda: demo.records.quarantine(kept, "wrong data"))
    found = demo.settle("train")
    assert questions == [("borderline", "")]
    assert (found.reused, found.decision.verdict.action) == (None, "run")
    assert not {"phase.answer", "phase.answered_by"} & set(demo.tags(found.run_id))


def test_good_work_that_appeared_while_the_question_was_open_is_asked_about_too(demo, asked):
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    questions = asked(lambda: demo.compute("evaluate"), decide="rerun")
    found = demo.settle("train")
    assert questions == [("borderline", ""), ("borderline", "")]
    assert [loss.phase for loss in found.decision.verdict.invalidates] == ["train", "evaluate"]


def test_a_run_that_lost_its_outputs_cannot_be_kept_in_place_of_another(demo):
    kept = demo.compute("collect")
    demo.compute("train")
    (local_folder(demo.run(kept).artifact_uri) / "outputs" / "result.txt").unlink()
    with pytest.raises(PhaseError) as error:
        demo.settle("collect", seed=1, decide="reuse")
    assert f"collect {kept[:8]} cannot be kept, it lost its outputs: result.txt is gone" in str(error.value)
    # Without a backend, MLflow would hand `decide` to a script that does not know it.
    assert f"Run `mlflow run {demo.folder} -e collect -b phases -P seed=0 -P decide=rerun`" in str(error.value)
    assert demo.history().recent("collect", 1)[0].status == "FAILED"


def test_the_figures_of_a_run_of_other_parameters_are_not_shown_as_this_ones(demo):
    demo.compute("collect")
    kept = demo.compute("train", epochs=10)
    demo.compute("evaluate")
    found = demo.settle("train", epochs=20, decide="reuse")
    assert (found.decision.verdict.kind, found.reused.run_id) == ("downstream", kept)
    run = demo.client.get_run(found.run_id)
    assert run.data.tags["phase.reused_run_id"] == kept
    assert not {"fidelity", "held_out"} & set(run.data.metrics)
    assert run.data.metrics["phase.saved_seconds"] == 60.0


def test_to_rerun_with_old_inputs_in_a_pipeline_computes(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", "needs: [collect]", "needs: [collect]\n      max_age: 0.0000001d")
    rerun = demo.settle("train", in_pipeline=True, decide="rerun")
    assert (rerun.reused, rerun.decision.verdict.kind) == (None, "old")
    assert demo.tags(rerun.run_id)["phase.verdict"] == "run"
    demo.client.set_terminated(rerun.run_id, "KILLED")
    assert demo.settle("train", in_pipeline=True, decide="reuse").reused is not None


# --- runs that died, and runs of other machines ---


def of_another_machine(demo, run_id: str, age: float = 3600.0, count: int = 0) -> None:
    """Gives a run the heartbeat of a process elsewhere, whose clock may be wrong."""
    beat = {"at": time.time() - age, "host": "gpu1", "boot": "x", "pid": 1, "began": 1.0, "every": 0.2, "beat": count}
    demo.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(beat))


def test_a_run_of_another_machine_is_watched_before_it_is_taken_over(demo, monkeypatch, capsys):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    run_id, _ = demo.start("collect")
    demo.records.checkpoint(run_id, "step-000003")
    of_another_machine(demo, run_id)
    # A clock that advances at each look, so that the test does not depend on how fast this machine is.
    seconds = itertools.count(0.0, 0.1)
    monkeypatch.setattr(resolution, "Watch", lambda: Watch(clock=lambda: next(seconds)))
    successor = demo.settle("collect")
    assert next(seconds) >= 2.5 * 0.2
    assert f"collect: {run_id[:8]} on gpu1 looks dead; watching it for 0 s more" in capsys.readouterr().err
    assert successor.decision.verdict.run_id == run_id
    assert demo.tags(successor.run_id)["phase.resumed_from"] == run_id
    dead = demo.run(run_id)
    assert (dead.status, dead.successor) == ("KILLED", successor.run_id)
    assert dead.reason.startswith("lost heartbeat: last one ")
    assert dead.reason.endswith(f"run {successor.run_id} took over its work")


@pytest.mark.parametrize("age", [3600.0, -3600.0], ids=["an_hour_behind", "an_hour_ahead"])
def test_a_run_of_another_machine_that_beats_is_waited_for_whatever_its_clock_says(demo, monkeypatch, age):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    run_id, decision = demo.start("collect")
    of_another_machine(demo, run_id, age)

    def beat_and_end() -> None:
        for count in range(1, 40):
            time.sleep(0.05)
            of_another_machine(demo, run_id, age, count)
        demo.finish(run_id, decision, {"result.txt": "x"}, {}, 1.0)

    other = threading.Thread(target=beat_and_end)
    other.start()
    found = demo.settle("collect")
    other.join()
    assert found.reused.run_id == run_id
    assert demo.tags(found.run_id)["phase.verdict"] == "reuse"


def test_work_that_was_completed_just_as_it_was_taken_over_is_reused(demo, monkeypatch):
    run_id, decision = demo.start("collect")
    demo.die(run_id)
    real = demo.client.get_run

    def completes_meanwhile(wanted: str) -> object:
        if real(wanted).data.tags.get(schema.SUCCESSOR):
            monkeypatch.setattr(demo.client, "get_run", real)
            monkeypatch.setattr(demo.records, "check_owner", lambda run_id: None)  # It had looked a moment before.
            demo.finish(run_id, decision, {"result.txt": "x"}, {}, 1.0)
        return real(wanted)

    monkeypatch.setattr(demo.client, "get_run", completes_meanwhile)
    found = demo.settle("collect")
    assert found.reused is not None
    assert found.reused.run_id == run_id
    assert (demo.run(run_id).status, demo.run(run_id).successor) == ("FINISHED", "")


def test_a_run_that_was_taken_over_is_not_completed_and_leaves_the_pointer_where_it_is(demo):
    run_id, decision = demo.start("collect")
    demo.die(run_id)
    successor = demo.settle("collect")
    demo.finish(successor.run_id, successor.decision, {"result.txt": "x"}, {}, 1.0)
    demo.client.set_terminated(run_id, "FINISHED")  # As a script does that knows nothing of the plugin.
    with pytest.raises(PhaseError) as error:
        demo.finish(run_id, decision, {"result.txt": "y"}, {}, 1.0)
    assert f"run {successor.run_id} has taken over the work of run {run_id}" in str(error.value)
    assert (demo.run(run_id).status, demo.run(run_id).complete) == ("KILLED", False)
    assert demo.latest("collect") == successor.run_id


def test_reasons_that_do_not_fit_into_a_line_are_logged_one_a_line(demo, capsys):
    kept = demo.compute("collect")
    assert demo.settle("collect").reused.run_id == kept
    run_id = demo.settle("collect", decide="rerun").run_id
    said = capsys.readouterr().err
    assert f"[phases] collect: reuse - collect {kept[:8]} of " in said
    assert f"[phases] collect: run\n  re-run because decide=rerun was given\n  supersedes collect {kept[:8]}, " in said
    assert demo.tags(run_id)["phase.reason"].startswith("re-run because decide=rerun was given; supersedes collect ")


def test_two_that_were_forced_at_once_wait_for_each_other(demo, monkeypatch):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    old = demo.compute("collect")
    first = demo.settle("collect", decide="rerun")
    later = threading.Timer(0.5, lambda: demo.finish(first.run_id, first.decision, {"result.txt": "x"}, {}, 1.0))
    later.start()
    second = demo.settle("collect", decide="rerun")
    later.join()
    assert first.reused is None
    assert second.reused.run_id == first.run_id != old


def test_a_lock_that_was_not_acquired_leaves_no_trace_of_an_answer(demo, asked, monkeypatch):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.05)
    demo.compute("collect")
    demo.compute("train", metrics=BORDERLINE)
    duplicates = []

    def duplicate_starts() -> None:
        # A lock entry that the decision does not see: the duplicate run has not begun to compute.
        decision = demo.decide("train")
        duplicates.append(demo.records.create(decision.request))
        for lock_entry in ("choosing", "1"):
            demo.records.write_lock_entry(duplicates[0], decision, lock_entry)

    def wait(run_id: str, decision: Decision) -> None:
        Records.wait(demo.records, run_id, decision)
        demo.client.set_terminated(duplicates[0], "FAILED")

    monkeypatch.setattr(demo.records, "wait", wait)
    asked(duplicate_starts, decide="rerun")
    found = demo.settle("train")
    assert found.reused is None
    lock_entries = {value for key, value in demo.tags(found.run_id).items() if key.startswith(schema.LOCK_INDEX)}
    assert lock_entries == {"1"}
    assert demo.tags(found.run_id)["phase.verdict"] == "run"


def test_an_edit_while_the_lock_is_acquired_withdraws_the_entry_for_the_code_before_it(demo, monkeypatch):
    before = demo.decide("collect").identity
    holder = resolution.Acquisition.holder
    edits = iter([lambda: demo.edit("collect.py", "print(1)", "print(10)")])

    def holder_then_edit(acquisition: resolution.Acquisition) -> str:
        held_by = holder(acquisition)
        next(edits, lambda: None)()
        return held_by

    monkeypatch.setattr(resolution.Acquisition, "holder", holder_then_edit)
    resolved = demo.settle("collect")
    assert resolved.decision.identity == demo.decide("collect").identity != before
    tags = demo.tags(resolved.run_id)
    assert {tags[f"{schema.LOCK_INDEX}{digest}"] for digest in before.digests()} == {"withdrawn"}
    assert {tags[f"{schema.LOCK_INDEX}{digest}"] for digest in resolved.decision.identity.digests()} == {"1"}
