"""Inputs are verified before a phase computes on them."""

from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.inputs import repair_command
from mlflow_plugin.store.artifacts import local_folder
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.outputs import manifest_fault, read_manifest
from mlflow_plugin.store.verification import output_faults


def outputs(demo, run_id: str) -> Path:
    return local_folder(demo.run(run_id).artifact_uri) / "outputs"


def damage(demo, run_id: str, how: str) -> None:
    folder = outputs(demo, run_id)
    (folder / "result.txt").write_text("RESULT of collect")  # As many bytes as before.
    if how == "with its manifest":
        (folder / "manifest.json").write_text(Manifest.of(folder).to_json())
    elif how == "without a file":
        (folder / "result.txt").unlink()
    elif how == "without a manifest":
        (folder / "manifest.json").unlink()


@pytest.mark.parametrize("how", ["same size", "with its manifest", "without a file", "without a manifest"])
def test_damaged_inputs_are_never_computed_on_and_the_command_that_is_named_repairs_them(demo, how):
    collected = demo.compute("collect", seed=3)
    damage(demo, collected, how)
    with pytest.raises(PhaseError) as error:
        demo.settle("train", collect_run_id=collected)
    message = str(error.value)
    assert f"collect {collected[:8]} lost its outputs: " in message
    assert "-e collect -b phases -P seed=3 -P decide=rerun` makes them again" in message
    assert demo.history().recent("train", 1)[0].status == "FAILED"

    again = demo.compute("collect", seed=3)  # What the command does.
    resolution = demo.settle("train")
    assert resolution.reused is None
    assert demo.run(resolution.run_id).inputs == {"collect": again}


def test_sound_outputs_have_no_faults_with_files_or_without(demo):
    assert output_faults(demo.client, demo.run(demo.compute("collect"))) == []
    run_id, decision = demo.start("collect", seed=1)
    demo.finish(run_id, decision, {}, {}, 1.0)
    assert output_faults(demo.client, demo.run(run_id)) == []


def test_a_manifest_that_lists_nothing_any_more_is_a_replaced_one(demo):
    run = demo.run(demo.compute("collect"))
    assert manifest_fault(run, read_manifest(run)) is None
    assert "was replaced" in str(manifest_fault(run, Manifest({})))


def test_outputs_of_a_remote_store_are_compared_by_size_and_by_the_digest_of_their_manifest(demo, monkeypatch):
    run = demo.run(demo.compute("collect"))
    for module in ("artifacts", "verification"):
        monkeypatch.setattr(f"mlflow_plugin.store.{module}.local_folder", lambda uri: None)
    damage_of = Path(run.artifact_uri.removeprefix("file://")) / "outputs"
    (damage_of / "result.txt").write_text("RESULT of collect")
    assert output_faults(demo.client, run) == []  # Fetching it tells.
    (damage_of / "manifest.json").write_text(Manifest.of(damage_of).to_json())
    assert "its manifest was replaced" in output_faults(demo.client, run)[0]


def test_the_command_that_repairs_needs_no_backend_where_decide_is_declared(demo):
    run = demo.run(demo.compute("collect"))
    assert "-b phases" in repair_command(demo.request("train"), "collect", run)
    demo.edit("MLproject", "seed: {type: int, default: 0}", "seed: {type: int, default: 0}\n      decide: ask")
    command = repair_command(replace(demo.request("train")), "collect", run)
    assert "-b" not in command.split()
    assert command.endswith("-e collect -P decide=rerun")
