"""Questions whose answer comes late, or cannot be carried out."""

import pytest

from mlflow_plugin import attempt
from mlflow_plugin.artifacts import local_folder
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.questions import Answer

BETWEEN = {"fidelity": 0.8, "held_out": 0.8}


@pytest.fixture
def asked(demo, monkeypatch):
    """Return a function that answers questions, after `meanwhile()` while the first is open.

    It returns the list of what was asked: kind, and the answer that stood on the run by then.
    """

    def answer(meanwhile=lambda: None, decide: str = "reuse") -> list[tuple[str, str]]:
        questions = []

        def settle(request, verdict, run_id, read_answer, user):
            questions.append((verdict.kind, demo.tags(run_id).get("phase.answer", "")))
            assert len(questions) < 4, "the same thing is asked again and again"
            if len(questions) == 1:
                meanwhile()
            return Answer(verdict.option(decide), "ada")

        monkeypatch.setattr(attempt, "settle", settle)
        return questions

    return answer


def test_an_answer_is_carried_out_when_nothing_changed_meanwhile(demo, asked):
    demo.compute("collect")
    kept = demo.compute("train", metrics=BETWEEN)
    questions = asked()
    found = demo.settle("train")
    assert questions == [("between", "")]
    assert found.source.run_id == kept
    assert demo.tags(found.run_id)["phase.answered_by"] == "ada"


def test_code_that_was_edited_while_a_question_was_open_is_asked_about_anew(demo, asked, capsys):
    demo.compute("collect")
    demo.compute("train", metrics=BETWEEN)
    demo.compute("evaluate")
    questions = asked(lambda: demo.edit("train.py", "print(2)", "print(20)"), decide="rerun")
    found = demo.settle("train")
    assert questions == [("between", ""), ("downstream", "")]
    assert found.source is None
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
    kept = demo.compute("train", metrics=BETWEEN)
    questions = asked(lambda: demo.records.quarantine(kept, "wrong data"))
    found = demo.settle("train")
    assert questions == [("between", "")]
    assert (found.source, found.decision.verdict.action) == (None, "run")
    assert not {"phase.answer", "phase.answered_by"} & set(demo.tags(found.run_id))


def test_good_work_that_appeared_while_the_question_was_open_is_asked_about_too(demo, asked):
    demo.compute("collect")
    demo.compute("train", metrics=BETWEEN)
    questions = asked(lambda: demo.compute("evaluate"), decide="rerun")
    found = demo.settle("train")
    assert questions == [("between", ""), ("between", "")]
    assert [loss.phase for loss in found.decision.verdict.invalidates] == ["train", "evaluate"]


def test_a_run_that_lost_its_outputs_cannot_be_kept_in_place_of_another(demo):
    kept = demo.compute("collect")
    demo.compute("train")
    (local_folder(demo.run(kept).artifact_uri) / "outputs" / "result.txt").unlink()
    with pytest.raises(PhaseError) as error:
        demo.settle("collect", seed=1, decide="reuse")
    assert f"collect {kept[:8]} cannot be kept, it lost its outputs: result.txt is gone" in str(error.value)
    assert "Run `mlflow run . -e collect` again" in str(error.value)
    assert demo.history().recent("collect", 1)[0].status == "FAILED"


def test_the_figures_of_a_run_of_other_parameters_are_not_shown_as_this_ones(demo):
    demo.compute("collect")
    kept = demo.compute("train", epochs=10)
    demo.compute("evaluate")
    found = demo.settle("train", epochs=20, decide="reuse")
    assert (found.decision.verdict.kind, found.source.run_id) == ("downstream", kept)
    run = demo.client.get_run(found.run_id)
    assert run.data.tags["phase.reused_run_id"] == kept
    assert not {"fidelity", "held_out"} & set(run.data.metrics)
    assert run.data.metrics["phase.saved_seconds"] == 60.0


def test_to_rerun_with_old_inputs_in_a_pipeline_computes(demo):
    demo.compute("collect")
    demo.compute("train")
    demo.edit("MLproject", "needs: [collect]", "needs: [collect]\n      max_age: 0.0000001d")
    rerun = demo.settle("train", in_pipeline=True, decide="rerun")
    assert (rerun.source, rerun.decision.verdict.kind) == (None, "old")
    assert demo.tags(rerun.run_id)["phase.verdict"] == "run"
    demo.client.set_terminated(rerun.run_id, "KILLED")
    assert demo.settle("train", in_pipeline=True, decide="reuse").source is not None
