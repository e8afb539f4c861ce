"""Garbage collection removes the checkpoints that no run resumes from, and nothing else."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlflow_plugin.checkpoints.garbage_collection import GarbageCollection, RunGarbage
from mlflow_plugin.cli import main
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.project.project import CheckpointPolicy
from mlflow_plugin.store.manifest import FileEntry, Manifest


def folder_of(demo, run_id: str) -> Path:
    return Path(demo.run(run_id).artifact_uri.removeprefix("file://")) / "checkpoints"


def entry(content: bytes) -> FileEntry:
    return FileEntry(hashlib.sha256(content).hexdigest(), len(content))


def save(demo, run_id: str, step: int, needs: int | None = None, **metrics: float) -> None:
    """A checkpoint of two files, or of one that needs the tensors of an earlier step."""
    folder = folder_of(demo, run_id) / f"step-{step:06d}"
    folder.mkdir(parents=True)
    files = {"state.json": f"state {step}".encode()}
    references = {}
    if needs is None:
        files["tensors.safetensors"] = bytes([step]) * 1000
    else:
        references[f"step-{needs:06d}/tensors.safetensors"] = entry(bytes([needs]) * 1000)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = Manifest({name: entry(content) for name, content in files.items()}, step, metrics, references=references)
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    demo.records.checkpoint(run_id, folder.name)


def cut_short(demo, run_id: str, step: int) -> Path:
    """The remains of a save that was killed before its end."""
    folder = folder_of(demo, run_id) / f"step-{step:06d}"
    folder.mkdir(parents=True)
    (folder / "tensors.safetensors.part").write_bytes(b"half")
    return folder


def interrupted(demo, steps=(1, 2, 3, 4, 5), *, resumed_from: str = "", **given: object) -> str:
    """A run of train that was killed after these checkpoints."""
    run_id, _ = demo.start("train", **given)
    for step in steps:
        save(demo, run_id, step)
    if resumed_from:
        demo.client.set_tag(run_id, "phase.resumed_from", resumed_from)
    demo.die(run_id)
    return run_id


def held(demo, run_id: str) -> list[str]:
    """Names of the folders that are left."""
    return sorted(folder.name for folder in folder_of(demo, run_id).iterdir())


def steps(*numbers: int) -> list[str]:
    return [f"step-{number:06d}" for number in numbers]


def look(demo, **options) -> dict[str, RunGarbage]:
    return {one.run.run_id: one for one in GarbageCollection(demo.history(), **options).look()}


def collect(demo, **options) -> dict[str, RunGarbage]:
    return {one.run.run_id: one for one in GarbageCollection(demo.history(), **options).collect(demo.records)}


@pytest.fixture
def collected(demo):
    demo.compute("collect")
    return demo


def test_looking_removes_nothing_and_counts_every_byte(collected):
    run_id = interrupted(collected)
    before = {path: path.read_bytes() for path in folder_of(collected, run_id).rglob("*") if path.is_file()}
    found = look(collected)[run_id]
    assert {path: path.read_bytes() for path in folder_of(collected, run_id).rglob("*") if path.is_file()} == before
    assert found.held_bytes == sum(map(len, before.values()))
    assert found.freed_bytes == sum(len(content) for path, content in before.items() if path.parent.name in steps(1, 2))
    assert found.why == "interrupted, resumable: the last 3, the best 1 stay"
    assert (found.checkpoints, found.removal.kept) == (5, tuple(steps(3, 4, 5)))


def test_an_interrupted_run_keeps_what_the_project_says(collected):
    collected.edit("MLproject", "size: [epochs]", "size: [epochs]\n      checkpoints: {keep_last: 1, keep_every: 2}")
    run_id = interrupted(collected)
    collect(collected)
    assert held(collected, run_id) == steps(2, 4, 5)
    assert collected.run(run_id).checkpoint == "step-000005"
    assert collect(collected)[run_id].freed_bytes == 0


def test_files_that_a_kept_checkpoint_needs_stay(collected):
    run_id = interrupted(collected, [1])
    for step in (2, 3, 4, 5):
        save(collected, run_id, step, needs=1)
    collect(collected)
    assert held(collected, run_id) == steps(1, 3, 4, 5)
    assert [file.name for file in (folder_of(collected, run_id) / "step-000001").iterdir()] == ["tensors.safetensors"]


def test_a_run_that_lives_is_left_alone(collected):
    run_id, _ = collected.start("train")
    for step in range(1, 7):
        save(collected, run_id, step)
    aborted = cut_short(collected, run_id, 7)
    found = collect(collected)[run_id]
    assert found.removal is None
    assert found.why == "left alone: it is running, or was less than an hour ago"
    assert held(collected, run_id) == [*steps(1, 2, 3, 4, 5, 6), aborted.name]


def test_a_run_on_another_machine_with_a_recent_heartbeat_is_left_alone(collected):
    run_id = interrupted(collected)
    beat = {**new_heartbeat(), "host": "elsewhere", "boot": "another"}
    collected.client.set_tag(run_id, "mlflow.phase.heartbeat", json.dumps({**beat, "at": beat["at"] - 600}))
    assert collect(collected)[run_id].removal is None
    collected.client.set_tag(run_id, "mlflow.phase.heartbeat", json.dumps({**beat, "at": beat["at"] - 4000}))
    assert collect(collected)[run_id].freed_bytes > 0


def test_a_run_that_ended_itself_needs_no_hour_of_silence(collected):
    run_id, _ = collected.start("train")
    for step in range(1, 7):
        save(collected, run_id, step)
    collected.records.fail(run_id, "the disk is full")
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5, 6)
    collect(collected)
    assert held(collected, run_id) == steps(4, 5, 6)


def test_what_an_aborted_save_left_goes_and_what_others_put_there_stays(collected):
    run_id = interrupted(collected, [1])
    cut_short(collected, run_id, 2)
    own = folder_of(collected, run_id) / "best"
    own.mkdir()
    (own / "model.pt").write_bytes(b"a script's own file")
    alike = folder_of(collected, run_id) / "step-000009"
    alike.mkdir()
    (alike / "model.pt").write_bytes(b"a script's own file")
    collect(collected)
    assert held(collected, run_id) == ["best", "step-000001", "step-000009"]


def test_an_interrupted_run_that_another_resumed_from_needs_none(collected):
    first = interrupted(collected)
    second = interrupted(collected, [6, 7], resumed_from=first)
    found = collect(collected)
    assert found[first].why == f"interrupted: {second[:8]} resumed from it"
    assert held(collected, first) == []
    assert collected.run(first).checkpoint == ""
    assert held(collected, second) == steps(6, 7)


@pytest.mark.parametrize("own", [[], [3]])
def test_an_interrupted_run_keeps_its_checkpoints_until_its_successor_is_as_far(collected, own):
    first = interrupted(collected)
    interrupted(collected, own, resumed_from=first)
    collect(collected)
    assert held(collected, first) == steps(3, 4, 5)


def test_a_successor_whose_checkpoint_is_damaged_does_not_count(collected):
    first = interrupted(collected)
    second = interrupted(collected, [6], resumed_from=first)
    file = folder_of(collected, second) / "step-000006" / "tensors.safetensors"
    file.write_bytes(bytes([7]) * 1000)
    collect(collected)
    assert held(collected, first) == steps(3, 4, 5)


def test_an_interrupted_run_is_left_alone_while_its_successor_runs(collected):
    first = interrupted(collected)
    second, _ = collected.start("train")
    collected.client.set_tag(second, "phase.resumed_from", first)
    assert collect(collected)[first].why == f"left alone: {second[:8]} is running and resumes from it"
    assert held(collected, first) == steps(1, 2, 3, 4, 5)


def test_a_quarantined_successor_does_not_count(collected):
    first = interrupted(collected)
    second = interrupted(collected, [6], resumed_from=first)
    collected.records.quarantine(second, "wrong data")
    found = collect(collected)
    assert held(collected, first) == steps(3, 4, 5)
    assert found[second].why == f"left alone: train {second[:8]} is quarantined: wrong data"


def test_before_anything_goes_the_newest_checkpoint_is_read_back(collected):
    collected.edit("MLproject", "size: [epochs]", "size: [epochs]\n      checkpoints: {keep_last: 1, keep_best: 0}")
    run_id = interrupted(collected)
    flipped = folder_of(collected, run_id) / "step-000005" / "tensors.safetensors"
    flipped.write_bytes(bytes([9]) * 1000)
    assert look(collected)[run_id].removal.kept == tuple(steps(5))
    collect(collected)
    assert held(collected, run_id) == steps(4)
    assert collected.run(run_id).checkpoint == "step-000004"


def complete(demo, **metrics: float) -> str:
    """A complete run of train with five checkpoints, the second the best."""
    run_id, decision = demo.start("train")
    for step, fidelity in enumerate((0.1, 0.9, 0.3, 0.4, 0.5), start=1):
        save(demo, run_id, step, fidelity=fidelity)
    demo.finish(run_id, decision, {"result.txt": "result"}, {"fidelity": 0.9, "held_out": 0.8}, 60.0)
    return run_id


def test_a_run_whose_checkpoints_cannot_be_read_now_is_left_alone(collected, monkeypatch):
    demo = collected
    run_id = interrupted(demo)
    before = held(demo, run_id)

    def fails(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mlflow_plugin.project.digests.hashlib.file_digest", fails)
    assert "Input/output error" in collect(demo)[run_id].trouble
    assert held(demo, run_id) == before


def test_a_complete_run_keeps_its_last_and_its_best_checkpoint_and_all_its_outputs(collected):
    run_id = complete(collected)
    found = collect(collected)[run_id]
    assert found.why == "complete: the last 1, the best 1 stay"
    assert held(collected, run_id) == steps(2, 5)
    assert collected.action("train") == ("reuse", "same")
    assert (folder_of(collected, run_id).parent / "outputs" / "result.txt").read_text() == "result"


def test_what_stays_of_a_complete_run_can_be_chosen(collected):
    run_id = complete(collected)
    collect(collected, complete_runs=CheckpointPolicy(keep_last=2, keep_best=0, keep_every=3))
    assert held(collected, run_id) == steps(3, 4, 5)


def test_a_run_that_another_was_made_from_is_left_alone_unless_it_is_asked_for(collected):
    run_id = complete(collected)
    later = collected.compute("evaluate")
    assert collect(collected)[run_id].why == f"left alone: evaluate {later[:8]} was made from it"
    collected.client.delete_run(later)
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5)
    assert collect(collected)[run_id].removal is None  # A deleted run can be restored.
    collect(collected, also_used=True)
    assert held(collected, run_id) == steps(2, 5)


def test_a_run_that_another_experiment_was_made_from_is_left_alone(collected):
    run_id = complete(collected)
    elsewhere = collected.client.create_run(collected.client.create_experiment("elsewhere")).info.run_id
    collected.client.set_tag(elsewhere, f"mlflow.phase.input.{run_id}", "1")
    collect(collected)
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5)


def test_a_run_that_another_names_in_a_parameter_is_left_alone(collected):
    run_id = interrupted(collected)
    other = collected.start("train", device=f"runs:/{run_id}/checkpoints/step-000001")[0]
    found = collect(collected)
    assert found[run_id].why == f"left alone: {other[:8]} names it in a parameter"
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5)


def test_a_run_with_a_checkpoint_of_a_newer_version_is_left_alone(collected):
    run_id = interrupted(collected)
    file = folder_of(collected, run_id) / "step-000002" / "manifest.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 99'))
    found = collect(collected)[run_id]
    assert found.why.startswith("left alone: This manifest has format 99")
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5)


def test_a_damaged_manifest_is_no_checkpoint_to_keep(collected):
    run_id = interrupted(collected, [1, 2])
    (folder_of(collected, run_id) / "step-000002" / "manifest.json").write_text("{")
    collect(collected)
    assert held(collected, run_id) == steps(1)


def test_a_store_that_fails_for_one_run_is_reported_and_the_others_are_cleaned(collected, monkeypatch):
    broken = interrupted(collected, epochs=20)
    run_id = interrupted(collected)
    from mlflow_plugin.checkpoints.store import CheckpointStore

    listing = CheckpointStore.listing

    def failing(self: CheckpointStore) -> dict[str, int]:
        if broken in self.artifact_uri:
            raise PhaseError("the artifact store does not answer")
        return listing(self)

    monkeypatch.setattr(CheckpointStore, "listing", failing)
    found = collect(collected)
    assert found[broken].trouble == f"train {broken[:8]}: the artifact store does not answer"
    assert held(collected, run_id) == steps(3, 4, 5)


# --- the command ---


@pytest.fixture
def command(collected, store, monkeypatch) -> Iterator[list[str]]:
    monkeypatch.chdir(collected.folder)
    return ["gc", "--project", str(collected.folder)]


def test_the_command_previews_and_removes_only_with_delete(collected, command):
    run_id = interrupted(collected)
    freed = look(collected)[run_id].freed_bytes
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split("  ")[0] == "phase"
    assert lines[2].split()[:3] == ["train", run_id[:8], "5"]
    assert lines[-1].endswith(f"({freed:,} bytes) can be removed: add --delete")
    assert held(collected, run_id) == steps(1, 2, 3, 4, 5)
    removed = CliRunner().invoke(main, [*command, "--delete", "--json"])
    (one,) = json.loads(removed.stdout)
    assert (one["run_id"], one["freed_bytes"], one["removed"]) == (run_id, freed, steps(1, 2))
    assert CliRunner().invoke(main, command).stdout.splitlines()[-1] == "nothing to remove"


def test_the_command_says_so_when_there_is_nothing_to_look_at(collected, command):
    assert CliRunner().invoke(main, command).stdout == "no run of this project's phases holds a checkpoint\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_the_command_ends_with_1_when_a_run_could_not_be_cleaned(collected, command):
    run_id = interrupted(collected)
    folder = folder_of(collected, run_id) / "step-000001"
    folder.chmod(0o500)
    try:
        result = CliRunner().invoke(main, [*command, "--delete"])
    finally:
        folder.chmod(0o700)
    assert result.exit_code == 1
    assert f"mlflow-phases: train {run_id[:8]}: " in result.stderr


@pytest.mark.parametrize("option", [["--keep-last", "0"], ["--keep-best", "-1"], ["--keep-every", "0"]])
def test_the_command_refuses_what_cannot_be_kept(command, option):
    assert CliRunner().invoke(main, [*command, *option]).exit_code == 2
