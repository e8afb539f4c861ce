"""The end of a computed phase: what counts as its output, and when it is complete."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from mlflow.entities import LoggedModelOutput

from mlflow_plugin.errors import EndedByScriptError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Work
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.outputs import fetch_outputs, missing, read_manifest
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.verification import output_faults


def without_outputs(demo, seed: int) -> str:
    """Computes `collect` with this seed, which leaves nothing in the store; returns its output digest."""
    run_id, decision = demo.start("collect", seed=seed)
    demo.finish(run_id, decision, {}, {}, 1.0)
    return demo.run(run_id).output_digest


def test_what_left_no_outputs_is_known_by_how_it_was_made(demo, capsys):
    first, again, other = (without_outputs(demo, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 64
    assert "collect: it left no outputs in the store" in capsys.readouterr().err


def test_a_phase_that_no_other_needs_may_leave_no_outputs(demo, capsys):
    demo.compute("collect")
    demo.compute("train")
    run_id, decision = demo.start("evaluate")
    demo.finish(run_id, decision, {}, {}, 1.0)
    assert demo.run(run_id).complete
    assert "no outputs" not in capsys.readouterr().err


def test_a_phase_after_one_without_outputs_is_stale_when_that_was_made_otherwise(demo, ask_always):
    without_outputs(demo, 0)
    trained = demo.compute("train")
    without_outputs(demo, 0)
    assert demo.action("train") == ("reuse", "same")
    without_outputs(demo, 1)
    verdict = demo.decide("train").verdict
    assert (verdict.kind, verdict.run_id) == ("stale", trained)


# --- what counts as output ---


def log_model(demo, folder: Path, run_id: str, text: str, step: int = 0) -> str:
    """Logs a model of one file to a run, as `log_model` of any flavour does it; returns its id."""
    model = demo.client.create_logged_model("0", name="classifier", source_run_id=run_id)
    weights = folder / model.model_id / "checkpoints" / "weights.bin"
    weights.parent.mkdir(parents=True)
    weights.write_text(text)
    demo.client.log_model_artifacts(model.model_id, str(folder / model.model_id))
    demo.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step)])
    return str(model.model_id)


def with_models(demo, folder: Path, *texts: str, files: Mapping[str, str] = MappingProxyType({"a": "1"})) -> PhaseRun:
    """Completes a phase that declares outputs and logs models beside them."""
    run_id, decision = demo.start("collect")
    for step, text in enumerate(texts):
        log_model(demo, folder, run_id, text, step)
    demo.finish(run_id, decision, files, {}, 1.0)
    return demo.run(run_id)


def test_models_that_a_phase_logs_beside_its_declared_outputs_are_outputs_too(demo, tmp_path):
    run = with_models(demo, tmp_path, "first", "second")
    names = ["a", "models/classifier-2/checkpoints/weights.bin", "models/classifier/checkpoints/weights.bin"]
    assert sorted(run.outputs["sizes"]) == sorted(read_manifest(run).files) == names
    assert missing(demo.client, run) == ()
    assert output_faults(demo.client, run) == []
    folder = fetch_outputs(demo.client, run, tmp_path / "cache")
    assert [(folder / name).read_text() for name in names] == ["1", "second", "first"]
    assert with_models(demo, tmp_path, "first", "second").output_digest == run.output_digest
    assert with_models(demo, tmp_path, "first", "other").output_digest != run.output_digest


def test_a_model_that_is_deleted_or_damaged_costs_the_run_its_outputs(demo, tmp_path):
    run = with_models(demo, tmp_path, "first")
    (model_id,) = run.outputs["models"].values()
    where = local_folder(demo.client.get_logged_model(model_id).artifact_location)
    (where / "checkpoints" / "weights.bin").write_text("FIRST")
    assert output_faults(demo.client, run) == [
        "models/classifier/checkpoints/weights.bin has other bytes than when it was written"
    ]
    demo.client.delete_logged_model(model_id)
    assert missing(demo.client, run) == ("models/classifier/checkpoints/weights.bin is gone",)
    assert demo.action("collect")[0] == "run"


def test_an_output_below_the_name_of_a_model_is_told_from_it(demo, tmp_path):
    (tmp_path / "staged" / "models" / "classifier").mkdir(parents=True)
    (tmp_path / "staged" / "models" / "classifier" / "note.txt").write_text("own")
    run_id, decision = demo.start("collect")
    log_model(demo, tmp_path, run_id, "weights")
    complete_work(demo.records, run_id, Work(decision.request, {}), 1.0, staged=tmp_path / "staged")
    names = {"models/classifier/note.txt", "models/classifier-2/checkpoints/weights.bin"}
    assert set(read_manifest(demo.run(run_id)).files) == names
    assert missing(demo.client, demo.run(run_id)) == ()


def test_without_declared_outputs_everything_that_was_logged_counts_and_with_some_only_those(demo):
    run_id, decision = demo.start("collect")
    demo.client.log_text(run_id, "1", "plot.txt")
    demo.client.log_text(run_id, "1", "provenance/reads.json")
    demo.finish(run_id, decision, {}, {}, 1.0)
    assert set(read_manifest(demo.run(run_id)).files) == {"plot.txt"}
    run_id, decision = demo.start("collect")
    demo.client.log_text(run_id, "1", "plot.txt")
    demo.finish(run_id, decision, {"a": "1"}, {}, 1.0)
    assert set(read_manifest(demo.run(run_id)).files) == {"a"}


# --- how it ended ---


@pytest.mark.parametrize("status", ["FAILED", "KILLED"])
def test_a_run_that_its_script_ended_badly_is_not_complete(demo, status):
    run_id, decision = demo.start("collect")
    demo.client.set_terminated(run_id, status)
    with pytest.raises(EndedByScriptError, match=rf"mlflow\.end_run\('{status}'\)"):
        demo.finish(run_id, decision, {"a": "1"}, {}, 1.0)
    run = demo.run(run_id)
    assert (run.status, run.complete, run.is_open) == (status, False, False)
    assert "so the run is not complete" in run.reason


def test_a_run_that_was_only_presumed_dead_completes(demo):
    run_id, decision = demo.start("collect")
    demo.records.presume_dead(demo.run(run_id), "start it again")
    demo.finish(run_id, decision, {"a": "1"}, {}, 1.0)
    assert (demo.run(run_id).complete, demo.run(run_id).status) == (True, "FINISHED")


def test_a_failed_run_stays_failed_when_mlflow_calls_it_finished(demo):
    run_id, _ = demo.start("collect")
    demo.records.fail(run_id, "ValueError: no data")
    demo.client.set_terminated(run_id, "FINISHED")  # As its local backend does when a pipe ended with 0.
    assert (demo.run(run_id).status, demo.run(run_id).is_open) == ("FAILED", False)
