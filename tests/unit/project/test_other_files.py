from pathlib import Path

import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.outputs import handed_over
from mlflow_plugin.project.project import Project

PHASE = """  {name}:
    command: "python {name}.py"
    phase: {{{keys}}}
"""


def write(folder: Path, name: str = "", **phases: str) -> Path:
    """Write an MLproject file with phases, each with its keys."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = "".join(PHASE.format(name=phase, keys=keys) for phase, keys in phases.items())
    (folder / "MLproject").write_text(f"name: {name or folder.name}\nentry_points:\n{entries}")
    return folder


def names(project: Project) -> dict[str, tuple[str, ...]]:
    """The phases in order, with their needs."""
    return {phase.name: phase.needs for phase in project.order(project.phases)}


def test_a_phase_of_another_file_is_called_by_its_entry_point_or_where_that_is_main_by_its_folder(tmp_path):
    write(tmp_path / "fetch", main="")
    write(tmp_path / "common", prepare="needs: [../fetch]")
    project = load_project(write(tmp_path / "top", train="needs: [../common#prepare, ../fetch#main]"))
    assert names(project) == {"fetch": (), "prepare": ("fetch",), "train": ("prepare", "fetch")}
    owner, own = project.native("prepare")
    assert (owner.name, owner.directory, own.name, own.needs) == ("common", tmp_path / "common", "prepare", ("fetch",))
    assert project.stored_as("fetch") == ("fetch", "main")
    assert project.stored_as("train") == ("top", "train")
    assert project.directory_of(project.phases["fetch"]) == tmp_path / "fetch"


def test_a_name_that_is_taken_here_or_that_two_files_have_gives_way_to_the_folders(tmp_path):
    write(tmp_path / "a", prepare="")
    write(tmp_path / "b", prepare="", train="")
    project = load_project(write(tmp_path / "top", train="needs: [../a#prepare, ../b#prepare]"))
    assert names(project)["train"] == ("a", "b")
    project = load_project(write(tmp_path / "other", train="needs: [../b#train]"))
    assert names(project) == {"b": (), "train": ("b",)}


def test_two_phases_that_would_have_one_name_are_refused(tmp_path):
    write(tmp_path / "one" / "clean", main="")
    write(tmp_path / "two" / "clean", "other", main="")
    top = write(tmp_path / "top", train="needs: [../one/clean, ../two/clean]")
    with pytest.raises(
        UsageError, match=r"one/clean/MLproject#main and .*two/clean/MLproject#main would both be called"
    ):
        load_project(top)


def test_two_phases_whose_runs_could_not_be_told_apart_are_refused(tmp_path):
    write(tmp_path / "clean", "same", train="")
    top = write(tmp_path / "top", "same", train="needs: [../clean#train]")
    with pytest.raises(UsageError, match=r"are both the phase 'train' of a project 'same'.*another `name:`"):
        load_project(top)


def test_a_pipeline_may_name_phases_of_other_files(tmp_path):
    write(tmp_path / "clean", main="")
    top = write(tmp_path / "top")
    (top / "MLproject").write_text("name: top\nentry_points:\n  all:\n    pipeline: [../clean#main]\n")
    project = load_project(top)
    assert [phase.name for phase in project.order(project.pipelines["all"].targets)] == ["clean"]


@pytest.mark.parametrize(
    ("need", "message"),
    [
        (
            "../nowhere#main",
            r"top/MLproject: entry point 'train', key `phase.needs`: '../nowhere#main': there is no .*nowhere",
        ),
        ("../clean#gone", r"top/MLproject: entry point 'train'.*clean/MLproject has no phase 'gone'; its phases: main"),
        ("../clean#other", r"has no phase 'other'"),
        ("../broken#main", r"top/MLproject.*broken/MLproject: entry point 'main', key `phase.nead`: unknown key"),
    ],
)
def test_a_file_or_phase_that_is_missing_or_wrong_is_named_with_the_file_that_needs_it(tmp_path, need, message):
    write(tmp_path / "clean", main="")
    (tmp_path / "clean/MLproject").open("a").write("  other:\n    command: echo\n")
    write(tmp_path / "broken", main="nead: []")
    with pytest.raises(UsageError, match=message):
        load_project(write(tmp_path / "top", train=f"needs: [{need}]"))


def test_a_cycle_across_files_is_refused_with_the_chain(tmp_path):
    write(tmp_path / "a", main="needs: [../b]")
    write(tmp_path / "b", main="needs: [../c]")
    write(tmp_path / "c", main="needs: [../a]")
    with pytest.raises(
        UsageError, match=r"in a cycle: .*a/MLproject -> .*b/MLproject -> .*c/MLproject -> .*a/MLproject"
    ):
        load_project(tmp_path / "a")


def test_an_artifact_of_another_file_is_named_by_the_short_name(tmp_path):
    write(tmp_path / "clean", main="outputs: [clean.csv, parts]")
    top = write(tmp_path / "top")
    (top / "MLproject").write_text(
        "name: top\nentry_points:\n  train:\n    parameters: {table: path}\n    command: python t.py {table}\n"
        "    phase: {needs: [../clean], inputs: {table: clean/clean.csv}, outputs: [model]}\n"
    )
    project = load_project(top)
    assert project.phases["train"].needs == ("clean",)
    # What train reads of these is compared as outputs, by either name.
    assert set(handed_over(project, project.phases["train"])) == {
        "model",
        "../clean/clean.csv",
        "../clean/parts",
        f"{tmp_path}/clean/clean.csv",
        f"{tmp_path}/clean/parts",
    }
