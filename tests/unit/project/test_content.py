import zipfile
from pathlib import Path

import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.project.content import content_digest
from mlflow_plugin.project.digests import file_digest
from mlflow_plugin.store.manifest import Manifest

MLMODEL = """\
artifact_path: mlruns/0/models/m-{id}/artifacts
flavors:
  sklearn: {{pickled_model: model.pkl}}
model_id: m-{id}
model_uuid: {id}
run_id: {id}
saved_input_example_info:
  artifact_path: {example}
utc_time_created: 2026-01-01 10:00:0{id}.0
"""


def described(folder: Path, id: int, example: str = "input.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(MLMODEL.format(id=id, example=example))
    return folder


def skops(path: Path, address: int, minute: int, values: bytes = b"12", other: int = 2) -> Path:
    path.parent.mkdir(exist_ok=True)
    schema = f'{{"a": {{"file": "{address}.npy", "__id__": {address}}}, "b": {{"__id__": {address + other}}}}}'
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in ((f"{address}.npy", values), ("schema.json", schema)):
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 10, minute, 0)), content)
    return path


def test_the_same_model_logged_by_two_runs_has_one_content(tmp_path):
    one, other = (Manifest.of(described(tmp_path / str(run), run)) for run in (1, 2))
    assert one.digest == other.digest
    assert one.files["MLmodel"].sha256 != other.files["MLmodel"].sha256
    assert Manifest.from_json(one.to_json()) == one
    assert one.verify(tmp_path / "2") == ["MLmodel has other bytes than when it was written: its sha256 differs."]


def test_another_model_has_another_content(tmp_path):
    one = content_digest(described(tmp_path / "1", 1) / "MLmodel")
    assert one != content_digest(described(tmp_path / "2", 1, example="other.json") / "MLmodel")


def test_the_same_skops_model_saved_twice_has_one_content(tmp_path):
    one = skops(tmp_path / "model.skops", 140404779168656, minute=1)
    other = skops(tmp_path / "again.skops", 150404779168000, minute=2, other=7)
    assert content_digest(one) == content_digest(other)


@pytest.mark.parametrize("changed", [{"values": b"13"}, {"other": 0}])
def test_changed_skops_model_has_another_content(tmp_path, changed):
    one = skops(tmp_path / "model.skops", 140404779168656, minute=1)
    other = skops(tmp_path / "changed.skops", 140404779168656, minute=1, **changed)
    assert content_digest(one) != content_digest(other)


def test_skops_itself_saves_equal_models_with_equal_content(tmp_path):
    skops_io = pytest.importorskip("skops.io")
    linear_model = pytest.importorskip("sklearn.linear_model")
    for name in ("one.skops", "other.skops"):
        skops_io.dump(linear_model.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0]), tmp_path / name)
    skops_io.dump(linear_model.LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 6.0]), tmp_path / "new.skops")
    one, other, new = (content_digest(tmp_path / name) for name in ("one.skops", "other.skops", "new.skops"))
    assert one == other != new


@pytest.mark.parametrize("content", [b"", b"- a list", b"{", b"\xff\xfe", b"PK\x05\x06" + b"\0" * 18])
@pytest.mark.parametrize("name", ["MLmodel", "model.skops"])
def test_file_of_another_format_counts_by_its_bytes(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert content_digest(tmp_path / name) == file_digest(tmp_path / name)


def test_model_description_that_contains_itself_counts_by_its_bytes(tmp_path):
    (tmp_path / "MLmodel").write_bytes(b"a: &a [*a]")
    assert content_digest(tmp_path / "MLmodel") == file_digest(tmp_path / "MLmodel")


def test_other_files_count_by_their_bytes(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"abc")
    assert content_digest(tmp_path / "weights.bin") == file_digest(tmp_path / "weights.bin")


def test_missing_model_description_is_named(tmp_path):
    with pytest.raises(PhaseError, match="MLmodel cannot be read"):
        content_digest(tmp_path / "MLmodel")
