"""The reports that a pipeline's run keeps, and the project's log of its runs, by real runs on both routes."""

import json
import re
from pathlib import Path

import pytest
from four_phases import PHASE_NAMES, WITH_PLUGIN, finished
from project_folder import LOCAL, PHASES, ProjectFolder

from mlflow_plugin.project.project import LOG_FILE

pytestmark = pytest.mark.end_to_end
MARK = re.compile(r"<!-- mlflow-phases run (\w+) -->")


def reports_of(project: ProjectFolder, run_id: str) -> list[str]:
    return [file.path for file in project.client.list_artifacts(run_id, "reports")]


def text_of(project: ProjectFolder, run_id: str, name: str) -> str:
    return Path(project.client.download_artifacts(run_id, f"reports/{name}")).read_text(encoding="utf-8")


def test_a_pipeline_keeps_its_reports_on_its_run_and_the_project_its_log(project: ProjectFolder) -> None:
    project.write({**WITH_PLUGIN, LOG_FILE: "# Our log\n"})
    assert project.run("main", PHASES).exit_code == 0
    (parent,) = project.runs("main")
    assert reports_of(project, parent.info.run_id) == [
        f"reports/{name}" for name in (LOG_FILE, "report.html", "state.json")
    ]
    state = json.loads(text_of(project, parent.info.run_id, "state.json"))
    assert [(one["phase"], one["state"]) for one in state["phases"]] == [(name, "up to date") for name in PHASE_NAMES]
    own = [project.newest(name).info.run_id for name in PHASE_NAMES]
    assert MARK.findall(text_of(project, parent.info.run_id, LOG_FILE)) == own
    kept = (project.folder / LOG_FILE).read_text(encoding="utf-8")
    assert kept.startswith("# Our log\n\n## ")
    assert MARK.findall(kept) == own

    assert project.run("main", PHASES).exit_code == 0
    reuse = project.runs("main")[0].info.run_id
    assert reports_of(project, reuse) == [f"reports/{name}" for name in (LOG_FILE, "state.json")]
    assert len(MARK.findall((project.folder / LOG_FILE).read_text(encoding="utf-8"))) == 8


def test_a_pipeline_that_fails_keeps_its_reports_too(project: ProjectFolder) -> None:
    finished(project)
    project.edit("phase3.py", "[3]", "[1 / 0]")
    assert project.run("main", PHASES, decide="rerun").exit_code == 1
    parent = project.runs("main")[0]
    assert parent.info.status == "FAILED"
    names = reports_of(project, parent.info.run_id)
    assert names == [f"reports/{name}" for name in (LOG_FILE, "report.html", "state.json")]
    entries = text_of(project, parent.info.run_id, LOG_FILE).split("\n## ")[1:]
    ended = [re.search(r"reused|failed", entry)[0] for entry in entries]  # type: ignore[index]
    assert ended == ["reused", "reused", "failed"]


def test_a_phase_that_mlflow_itself_starts_is_appended_to_the_log_as_it_ends(project: ProjectFolder) -> None:
    project.write({**WITH_PLUGIN, LOG_FILE: ""})
    assert project.run("phase1", LOCAL).exit_code == 0
    assert project.run("phase1", LOCAL).exit_code == 0
    kept = (project.folder / LOG_FILE).read_text(encoding="utf-8")
    assert MARK.findall(kept) == [run.info.run_id for run in reversed(project.runs("phase1"))]
    assert ": reused " in kept
