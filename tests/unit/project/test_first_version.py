"""Runs of the first version are found by the digests that it gave them, and compare as the same."""

from pathlib import Path

import pytest

from mlflow_plugin.project.identity import Identity, recipe_of
from mlflow_plugin.project.mlproject import load_project

MLPROJECT = """\
name: old
entry_points:
  train:
    parameters:
      epochs: {type: int, default: 10}
      rate: {default: 0.1}
      kind: {default: auto}
      flag: {default: true}
      name: {type: string, default: rows}
      data: {type: path, default: rows.csv}
    command: "python train.py rows.csv conf/a.yaml --epochs {epochs} --rate={rate} {kind} --flag {flag} --name {name} \
--data {data}"
    phase: {}
"""
# Made by the first version with rate=0.25 and epochs=20.
DIGESTS = {
    "56440f80b999358ac372bff8356f08462ab3dbd5d452c0bd84a1b60deda39918",
    "b203022775a0ea698004b224ccba618f7e1bb51af70dd242e615cebe0e334d56",
}
ROWS = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
FINGERPRINT = {
    "project": "old",
    "phase": "train",
    "command": "python train.py rows.csv conf/a.yaml",
    "code": "2bf0dcda091c38c05f5d66348c802992915b576d5dc6baaec9ab75acb669880f",
    "files": {
        "conf/a.yaml": "37b128c59f1f",
        "helper.py": "bbe40d89f3dc",
        "rows.csv": "4355a46b19d3",
        "train.py": "c1ce09678b8b",
    },
    "inputs": {},
    "parameters": {
        "data": [f"sha256:{ROWS}", "--data {data}"],
        "epochs": ["#20", "--epochs {epochs}"],
        "flag": ["=True", "--flag {flag}"],
        "kind": ["'auto", "@4 {kind}"],
        "name": ["'rows", "--name {name}"],
        "rate": ["#0.25", "--rate={rate}"],
    },
}


@pytest.fixture
def project(tmp_path, cache_folder) -> Path:
    folder = tmp_path / "project"
    (folder / "conf").mkdir(parents=True)
    (folder / "MLproject").write_text(MLPROJECT)
    (folder / "conf/a.yaml").write_text("a: 1\n")
    (folder / "rows.csv").write_text("1\n")
    (folder / "train.py").write_text('"""Doc."""\nimport helper\n')
    (folder / "helper.py").write_text("X = 1\n")
    return folder


def identity(folder: Path, **given: object) -> Identity:
    project = load_project(folder)
    return Identity(recipe_of(project, project.phase("train"), {"rate": "0.25", "epochs": 20, **given}, folder), {})


def test_a_run_of_the_first_version_is_found_and_is_the_same(project):
    now = identity(project)
    assert set(now.digests()) >= DIGESTS
    assert now.differences(FINGERPRINT) == []


def test_what_has_changed_since_is_told_as_before(project):
    (project / "rows.csv").write_text("2\n")
    (project / "helper.py").write_text("X = 2\n")
    data, *others = identity(project, kind="linear").differences(FINGERPRINT)
    assert data.startswith(f"data (sha256:{ROWS[:12]} -> sha256:")
    assert others == ["kind (auto -> linear)", "the code of helper.py, rows.csv"]


def test_another_spelling_of_a_number_without_a_type_is_another_value(project):
    assert identity(project, rate="0.250").differences(FINGERPRINT) == ["rate (0.25 -> 0.250)"]
    assert identity(project, epochs="2e1").differences(FINGERPRINT) == []
