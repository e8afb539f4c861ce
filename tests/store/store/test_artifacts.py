import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.entities import LoggedModelOutput

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Work
from mlflow_plugin.store import artifacts, outputs
from mlflow_plugin.store.artifacts import artifact_text, listing, local_folder
from mlflow_plugin.store.outputs import OutputFiles, fetch_outputs, gather_outputs, missing
from mlflow_plugin.store.run import PhaseRun


@pytest.fixture(params=["in place", "through the repository"])
def route(request, monkeypatch) -> str:
    """A local store is read in place; with this fixture once more as a remote one, through MLflow's repository."""
    if request.param != "in place":
        for module in (artifacts, outputs):
            monkeypatch.setattr(module, "local_folder", lambda uri: None)
    return request.param


@pytest.fixture
def run(demo) -> PhaseRun:
    """A complete run with the outputs `a.txt` and `sub/b.txt`."""
    return complete(demo, {"a.txt": "one", "sub/b.txt": "two"})


def complete(demo, files: dict[str, str]) -> PhaseRun:
    run_id, decision = demo.start("collect")
    staged = demo.folder.parent / f"staged-{run_id}"
    for name, text in files.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_text(text)
    staged.mkdir(exist_ok=True)
    complete_work(demo.records, run_id, Work(decision.request, {}), 1.0, staged=staged)
    return demo.run(run_id)


def stored(run: PhaseRun, name: str) -> Path:
    return local_folder(run.artifact_uri) / "outputs" / name


def test_a_folder_of_a_store_is_listed_with_sizes(run, route):
    found = listing(run.artifact_uri, "outputs")
    assert {name: size for name, size in found.items() if name != "manifest.json"} == {"a.txt": 3, "sub/b.txt": 3}
    kept = {"provenance/code.json", "outputs/manifest.json"}
    assert set(listing(run.artifact_uri)) == {"outputs/a.txt", "outputs/sub/b.txt", *kept}
    assert listing(run.artifact_uri, "nowhere") == {}


def test_a_text_is_fetched_when_it_is_there_and_small_enough(run, route, capsys):
    assert artifact_text(run, "outputs/sub/b.txt", at_most=3) == "two"
    assert artifact_text(run, "outputs/sub/b.txt", at_most=2) is None
    assert artifact_text(run, "outputs/absent.txt", at_most=3) is None
    assert artifact_text(run, "absent/b.txt", at_most=3) is None
    assert "Downloading" not in capsys.readouterr().err


def test_outputs_that_are_all_there_have_no_faults(demo, run, route):
    assert missing(demo.client, run) == ()


def test_a_deleted_output_and_a_truncated_one_are_named(demo, run, route):
    stored(run, "sub/b.txt").unlink()
    stored(run, "a.txt").write_text("on")
    assert sorted(missing(demo.client, run)) == ["a.txt has 2 bytes instead of 3", "sub/b.txt is gone"]


def test_a_list_that_was_too_long_for_a_tag_is_read_from_the_manifest(demo, run, route):
    long = replace(run, outputs={**run.outputs, "sizes": None})
    assert missing(demo.client, long) == ()
    stored(run, "a.txt").unlink()
    assert missing(demo.client, long) == ("a.txt is gone",)
    stored(run, "manifest.json").unlink()
    assert len(missing(demo.client, long)) == 1
    assert "outputs/manifest.json cannot be read" in missing(demo.client, long)[0]


def test_many_outputs_leave_their_list_to_the_manifest(demo):
    sizes = {f"layer_{number:05d}/weights.safetensors": number for number in range(1000)}
    content = json.loads(OutputFiles(sizes=sizes).to_tag())
    assert (content["folder"], content["sizes"]) == ("outputs", None)
    assert json.loads(OutputFiles(sizes={"a": 1}).to_tag())["sizes"] == {"a": 1}


@pytest.mark.parametrize("outputs", [None, {}, {"models": 3, "sizes": "all"}, {"folder": "outputs", "sizes": []}])
def test_a_damaged_description_of_outputs_is_read_as_saying_nothing(outputs):
    assert OutputFiles.of(PhaseRun("0" * 32, "train", outputs=outputs)) == OutputFiles()


def test_outputs_are_handed_out_verified(demo, run, route, tmp_path):
    folder = fetch_outputs(demo.client, run, tmp_path / "cache")
    assert (folder / "a.txt").read_text() == "one"
    assert (folder / "sub" / "b.txt").read_text() == "two"
    assert (tmp_path / "cache").exists() == (route != "in place")
    assert fetch_outputs(demo.client, run, tmp_path / "cache") == folder


def test_outputs_whose_bytes_changed_are_not_handed_out(demo, run, route, tmp_path):
    stored(run, "a.txt").write_text("eno")
    with pytest.raises(PhaseError) as error:
        fetch_outputs(demo.client, run, tmp_path / "cache")
    assert f"collect {run.short}: its outputs are damaged: a.txt has other bytes" in str(error.value)
    assert "-P collect_run_id=RUN" in str(error.value)


def test_a_hostile_manifest_is_refused(demo, run, route, tmp_path):
    manifest = json.loads(stored(run, "manifest.json").read_text())
    manifest["files"]["../../../secret"] = manifest["files"]["a.txt"]
    stored(run, "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PhaseError, match="leads out of its folder"):
        fetch_outputs(demo.client, run, tmp_path / "cache")


def test_a_store_that_does_not_answer_is_named_and_said_to_be_unchanged(monkeypatch):
    def refuse(path: str | None = None) -> None:
        raise OSError("connection refused")

    repository = type("Repository", (), {"list_artifacts": staticmethod(refuse)})
    monkeypatch.setattr(artifacts, "get_artifact_repository", lambda uri: repository)
    with pytest.raises(PhaseError, match=r"does not answer for s3://bucket/run/.*connection refused.*Nothing was"):
        listing("s3://bucket/run")


def test_all_that_a_run_logged_counts_as_its_outputs_but_checkpoints_and_the_manifest(demo, route, tmp_path):
    run_id, _ = demo.start("collect")
    for name in ("model/weights.bin", "plot.png", "checkpoints/step-000010/state", "outputs/manifest.json"):
        folder, _, file = name.rpartition("/")
        demo.client.log_text(run_id, name, f"{folder}/{file}".lstrip("/"))
    manifest, where = gather_outputs(demo.client, demo.run(run_id), "", tmp_path / "read")
    assert set(manifest.files) == {"model/weights.bin", "plot.png"}
    assert (where.folder, where.sizes) == ("", {"model/weights.bin": 17, "plot.png": 8})


def test_two_runs_with_the_same_files_have_the_same_output_digest(demo):
    one, other = complete(demo, {"a": "1", "b/c": "2"}), complete(demo, {"b/c": "2", "a": "1"})
    assert one.output_digest == other.output_digest
    assert complete(demo, {"a": "1", "b/d": "2"}).output_digest != one.output_digest


def test_the_models_that_a_run_logged_are_outputs_too(demo, tmp_path):
    run_id, decision = demo.start("collect")
    model = demo.client.create_logged_model("0", name="classifier", source_run_id=run_id)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_text("12345")
    demo.client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
    demo.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    complete_work(demo.records, run_id, Work(decision.request, {}), 1.0)
    run = demo.run(run_id)
    assert run.outputs["models"] == {"classifier": model.model_id}
    assert missing(demo.client, run) == ()
    folder = fetch_outputs(demo.client, run, tmp_path / "cache")
    assert (folder / "models/classifier/weights.bin").read_text() == "12345"
    demo.client.delete_logged_model(model.model_id)
    assert missing(demo.client, run) == ("models/classifier/weights.bin is gone",)


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        ("/data/run/artifacts", Path("/data/run/artifacts")),
        ("file:///data/run", Path("/data/run")),
        ("file:///a%20b", Path("/a b")),
        ("relative/run", Path("relative/run")),
        ("s3://bucket/run", None),
        ("mlflow-artifacts:/0/run/artifacts", None),
        ("dbfs:/run", None),
        ("http://host/run", None),
    ],
)
def test_only_a_local_store_has_a_folder(uri, folder):
    assert local_folder(uri) == folder


HOSTILE = ["../x", "/etc/cron.d", "a/../../x", "..", "C:/x", "a\\..\\..\\x", "a\0b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_outputs_that_would_lie_outside_their_folder_are_refused(demo, run, name, tmp_path):
    for listed in ({"folder": name}, {"models": {name: "m-0"}}):
        hostile = replace(run, outputs={**run.outputs, **listed})
        with pytest.raises(PhaseError):
            OutputFiles.of(hostile)
        with pytest.raises(PhaseError):
            fetch_outputs(demo.client, hostile, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
