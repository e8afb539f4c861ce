"""One MLproject file per step: `needs: [../basic_cleaning#main]` makes one graph of them."""

import os

import pytest

from mlflow_plugin import find_reusable
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store.declaration import declared_projects
from mlflow_plugin.store.history import History
from tests.end_to_end.project_folder import ProjectFolder, recording

pytestmark = pytest.mark.end_to_end

ROOT = """
name: flats
entry_points:
  main:
    parameters:
      min_price: {type: float, default: 2}
      depth: {type: int, default: 3}
    pipeline: [train]
  train:
    parameters:
      depth: {type: int, default: 3}
    command: "python train.py {depth}"
    phase: {needs: [basic_cleaning#main], outputs: [model.txt]}
"""
CLEANING = """
name: basic_cleaning
entry_points:
  main:
    parameters:
      min_price: {type: float, default: 0}
    command: "python run.py {min_price}"
    phase: {needs: [../get_data], outputs: [clean.csv]}
"""
GET_DATA = """
name: get_data
entry_points:
  main:
    command: "python run.py"
    phase: {outputs: [raw.csv]}
"""
FILES = {
    "MLproject": ROOT,
    "train.py": recording("train")
    + """
import os
import sys
from pathlib import Path

rows = Path("basic_cleaning/clean.csv").read_text().split()
Path("model.txt").write_text(f"depth {sys.argv[1]} on {' '.join(rows)}")
Path(os.environ["MLFLOW_TESTS_RECORD"] + ".input").write_text(os.environ["PHASE_INPUT_BASIC_CLEANING"])
""",
    "basic_cleaning/MLproject": CLEANING,
    "basic_cleaning/run.py": recording("basic_cleaning")
    + """
import sys
from pathlib import Path

rows = Path("../get_data/raw.csv").read_text().split()
Path("clean.csv").write_text("\\n".join(row for row in rows if float(row) >= float(sys.argv[1])))
""",
    "get_data/MLproject": GET_DATA,
    "get_data/run.py": recording("get_data")
    + """
from pathlib import Path

Path("raw.csv").write_text("1\\n2\\n3\\n")
""",
}
ALL = ["get_data", "basic_cleaning", "train"]


def finished(project: ProjectFolder) -> None:
    project.write(FILES)
    done = project.run("main")
    assert done.exit_code == 0, done.text
    assert project.executed() == ALL


@pytest.fixture
def flats(project: ProjectFolder) -> ProjectFolder:
    """The project after its pipeline has run."""
    return project.prepare("graph_of_files", finished)


def model(project: ProjectFolder) -> str:
    return (project.folder / "model.txt").read_text()


def newest_of(project: ProjectFolder, name: str) -> dict[str, str]:
    """The tags of the newest run of a project's phase."""
    return next(dict(run.data.tags) for run in project.runs() if run.data.tags.get("phase.project") == name)


def test_a_pipeline_runs_phases_of_several_files_each_in_its_own_folder_and_by_its_own_name(
    project: ProjectFolder,
) -> None:
    project.write(FILES)
    done = project.command("mlflow", "run", ".", "-b", "phases", "--env-manager", "local")
    assert done.exit_code == 0, done.text
    assert project.executed() == ALL
    assert model(project) == "depth 3 on 2 3"
    runs = {run.data.tags["phase.project"]: run for run in project.runs() if "phase.project" in run.data.tags}
    assert set(runs) == {"flats", "basic_cleaning", "get_data"}
    cleaned = runs["basic_cleaning"]
    assert cleaned.data.tags["phase.name"] == "main"
    assert cleaned.data.tags["mlflow.source.name"] == str(project.folder / "basic_cleaning")
    assert cleaned.data.tags["phase.input.get_data"] == runs["get_data"].info.run_id
    assert runs["flats"].data.tags["phase.input.basic_cleaning"] == cleaned.info.run_id
    assert len({run.data.tags["mlflow.parentRunId"] for run in runs.values()}) == 1
    with open(os.environ["MLFLOW_TESTS_RECORD"] + ".input") as file:
        assert file.read() == cleaned.info.run_id
    assert "basic_cleaning: run - main has not been run yet" in done.text
    assert project.run("main").exit_code == 0
    assert project.executed() == []


def test_a_change_in_one_file_is_seen_through_the_graph_and_going_back_finds_the_earlier_results(
    flats: ProjectFolder,
) -> None:
    flats.edit("get_data/run.py", "1\\n2", "1\\n5\\n2")
    plan = flats.cli("plan").text
    assert "get_data: run" in plan
    assert "train: run\n  decided after basic_cleaning" in plan
    done = flats.run("main")
    assert "makes train" in done.text
    assert flats.executed() == ALL
    assert model(flats) == "depth 3 on 5 2 3"
    flats.edit("get_data/run.py", "1\\n5\\n2", "1\\n2")
    flats.run("main")
    assert flats.executed() == []
    assert model(flats) == "depth 3 on 2 3"
    assert (flats.folder / "basic_cleaning/clean.csv").read_text() == "2\n3"
    flats.run("main", depth=4)
    assert flats.executed() == ["train"]
    assert model(flats) == "depth 4 on 2 3"


def test_a_phase_is_asked_for_alone_from_any_of_the_files(flats: ProjectFolder) -> None:
    flats.run("train", depth=5)
    assert flats.executed() == ["train"]
    assert flats.run("basic_cleaning", min_price=3).exit_code == 0
    assert flats.executed() == ["basic_cleaning"]
    assert newest_of(flats, "basic_cleaning")["phase.verdict"] == "run"
    assert find_reusable(".", "basic_cleaning", {"min_price": 3}).action == "reuse"
    assert find_reusable("basic_cleaning", "main", {"min_price": 3}).action == "reuse"
    assert find_reusable(".", "train", {"depth": 5}).action == "run"
    pinned = find_reusable(
        ".", "train", {"basic_cleaning_run_id": newest_of(flats, "flats")["phase.input.basic_cleaning"]}
    )
    assert pinned.action == "reuse"


def test_status_state_and_the_page_show_one_pipeline(flats: ProjectFolder) -> None:
    lines = flats.cli("status").text.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ALL
    assert all("up to date" in line for line in lines[2:5])
    declared = declared_projects(flats.client.get_experiment("0").tags)
    assert set(declared) == {"flats", "basic_cleaning", "get_data"}
    assert next(iter(declared)) == "flats"
    assert list(declared["flats"].phases) == ["get_data", "basic_cleaning", "train"]
    assert declared["flats"].stored_as("basic_cleaning") == ("basic_cleaning", "main")
    # A server knows no more than these tags.
    shown = pipeline_view(History(flats.client, "0", declared["flats"])).to_json()
    assert [(phase["phase"], phase["state"]) for phase in shown["phases"]] == [(name, "up to date") for name in ALL]
    assert [one["matches"] for phase in shown["phases"] for one in phase["inputs"]] == [True, True]
    explained = flats.cli("explain", "basic_cleaning", "-P", "min_price=2").text
    assert "main: reuse" in explained
    assert "get_data" in explained


def test_an_upstream_run_that_is_gone_is_named_with_the_command_that_makes_it_again(project: ProjectFolder) -> None:
    project.write(FILES)
    done = project.run("train")
    assert done.exit_code == 2
    assert "Run `mlflow run basic_cleaning -e main -b phases` first" in done.text
    assert project.executed() == []
