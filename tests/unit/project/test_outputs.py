"""The declared outputs of a phase: what may be declared, what overlaps, and which files belong to them."""

import os
from pathlib import Path

import pytest

from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.outputs import (
    all_outputs,
    checked_pattern,
    declared_files,
    handed_over,
    is_declared,
    overlap,
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [("data/processed", "data/processed"), ("./models/", "models"), ("a//b/./c", "a/b/c"), ("m/*.pkl", "m/*.pkl")],
)
def test_a_pattern_has_one_plain_form(text: str, plain: str) -> None:
    assert checked_pattern(text) == plain


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/data", "must be a path relative"),
        ("~/data", "must be a path relative"),
        ("$DATA", "must be a path relative"),
        ("C:\\data", "must be a path relative"),
        ("../common", "leads out of"),
        ("a/../../b", "leads out of"),
        (".", "is the project's folder itself"),
        ("", "is the project's folder itself"),
        ("data/**/x", "has `**`"),
        (".git/hooks", "lies in .git"),
        (".mlflow-phases", "lies in .mlflow-phases"),
        ("mlruns/0", "lies in mlruns"),
    ],
)
def test_what_lies_outside_the_project_or_is_none_of_its_files_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("*", r"\*")):
        checked_pattern(text)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("data", "data", True),
        ("data", "data/processed", True),
        ("data/raw", "data/processed", False),
        ("data", "database", False),
        ("models/*.pkl", "models/a.pkl", True),
        ("models/*.pkl", "models/a.json", False),
        ("models/*.pkl", "models/*.json", False),
        ("models/a*.pkl", "models/b*.pkl", False),
        ("models/a*", "models/*.pkl", True),
        ("*/x", "data/y", False),
        ("*/x", "data", True),
        ("m?.bin", "m1.bin", True),
    ],
)
def test_patterns_overlap_when_one_file_may_belong_to_both(first: str, second: str, expected: bool) -> None:
    assert overlap(first, second) is expected
    assert overlap(second, first) is expected


def test_what_lies_below_a_declared_folder_belongs_to_it() -> None:
    patterns = ("data/processed", "models/*.pkl")
    assert is_declared(patterns, "data/processed")
    assert is_declared(patterns, "data/processed/a/b.csv")
    assert is_declared(patterns, "models/m.pkl")
    assert not is_declared(patterns, "data")
    assert not is_declared(patterns, "data/raw/a.csv")
    assert not is_declared(patterns, "models/m.json")
    assert not is_declared(patterns, "other/models/m.pkl")


def test_files_of_folders_and_patterns_are_found_by_their_names_in_the_project(tmp_path: Path) -> None:
    for name in (
        "data/processed/b.csv",
        "data/processed/deep/.hidden",
        "data/raw/a.csv",
        "models/m.pkl",
        "models/m.json",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    found = declared_files(tmp_path, ["data/processed", "models/*.pkl", "absent"])
    assert list(found) == ["data/processed/b.csv", "data/processed/deep/.hidden", "models/m.pkl"]
    assert all(path.read_text() == name for name, path in found.items())


def make_link(folder: Path) -> None:
    (folder / "out" / "x").symlink_to("/etc/passwd")


def make_pipe(folder: Path) -> None:
    os.mkfifo(folder / "out" / "x")


@pytest.mark.parametrize(("make", "what"), [(make_link, "a link"), (make_pipe, "neither a file nor a folder")])
def test_a_link_or_a_pipe_among_the_outputs_is_refused_by_name(tmp_path: Path, make, what: str) -> None:
    (tmp_path / "out").mkdir()
    make(tmp_path)
    with pytest.raises(PhaseError, match=f"out/x is {what}"):
        declared_files(tmp_path, ["out"])


FILE = """
entry_points:
  a: {{command: "true", phase: {{outputs: {a}}}}}
  b: {{command: "true", phase: {{needs: [a], outputs: {b}}}}}
  c: {{command: "true", phase: {{needs: [b]}}}}
  d: {{command: "true", phase: {{}}}}
"""


def declare(folder: Path, a: str, b: str) -> Path:
    (folder / "MLproject").write_text(FILE.format(a=a, b=b))
    return folder


def test_a_phase_is_handed_the_outputs_of_all_phases_before_it(tmp_path: Path) -> None:
    project = load_project(declare(tmp_path, "[data]", "[models]"))
    assert handed_over(project, project.phases["c"]) == ("data", "models")
    assert handed_over(project, project.phases["d"]) == ()
    assert all_outputs(project) == ("data", "models")
    assert project.phases["d"].outputs is None


@pytest.mark.parametrize(
    ("a", "b", "problem"),
    [
        ("[data]", "[data/x]", "'data/x' and 'data', an output of a, may name the same file"),
        ("[data, data/x]", "[m]", "'data/x' and 'data' may name the same file"),
        ("[../data]", "[m]", "'../data' leads out of the project's folder"),
        ("data", "[m]", "valid list"),
        ("[1]", "[m]", "valid string"),
    ],
)
def test_outputs_that_cannot_be_kept_apart_are_refused_before_anything_runs(
    tmp_path: Path, a: str, b: str, problem: str
) -> None:
    with pytest.raises(UsageError, match=f"key `phase.outputs.*{problem}.*Allowed: a list of files, folders"):
        load_project(declare(tmp_path, a, b))
