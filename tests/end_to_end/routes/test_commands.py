"""`mlflow-phases plan, status, quarantine, doctor` on the state that real runs left."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from four_phases import PHASE_NAMES, finished
from processes import run_words, started
from project_folder import PHASES, ProjectFolder

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]


@pytest.fixture
def four(project: ProjectFolder) -> ProjectFolder:
    return finished(project)


def store_content(project: ProjectFolder) -> tuple[list[str], list[str]]:
    """All that the tracking store holds: its database as SQL, and its files."""
    with closing(sqlite3.connect(project.store / "mlflow.db")) as connection:
        rows = list(connection.iterdump())
    return rows, sorted(str(path) for path in (project.store / "artifacts").rglob("*"))


def printed_json(project: ProjectFolder, *words: str) -> Any:
    result = project.cli(*words, "--json")
    assert result.exit_code == 0, result.text
    return json.loads(result.text)


def test_a_plan_tells_what_would_happen_and_changes_nothing_in_the_store(four: ProjectFolder) -> None:
    before = store_content(four)

    finished_plan = four.cli("plan")
    assert finished_plan.exit_code == 0, finished_plan.text
    assert [f"{name}: reuse" in finished_plan.text for name in PHASE_NAMES] == [True] * 4
    assert "nothing to compute" in finished_plan.text

    changed = four.cli("plan", "phase1", "-P", "start=5")
    assert changed.exit_code == 0, changed.text
    assert "phase1: ask" in changed.text
    assert "running phase1 would make 3 good downstream runs stale" in changed.text
    assert "start (1 -> 5)" in changed.text
    command = "mlflow run . -e phase1 -b phases -P start=5 -P decide="
    assert changed.text.endswith(f"to decide:\n  A) {command}reuse\n  B) {command}rerun\n  C) {command}beside\n")

    four.edit("helper.py", "x + 1", "x + 100")
    edited = printed_json(four, "plan", "main")
    assert [one["action"] for one in edited["phases"]] == ["reuse", "ask", "run", "run"]
    assert "helper.py" in json.dumps(edited["phases"][1]["reasons"])
    assert edited["seconds"] > 0
    assert edited["cost_usd"] > 0

    assert store_content(four) == before
    assert four.executed() == []


def test_a_plan_of_a_project_that_never_ran_names_every_phase(four: ProjectFolder) -> None:
    planned = printed_json(four, "plan", "main", "--experiment-name", "somewhere else")
    assert [(one["phase"], one["action"]) for one in planned["phases"]] == [(name, "run") for name in PHASE_NAMES]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "phase9"), "there is no phase or pipeline 'phase9'. There are: main, phase1, phase2"),
        (("plan", "phase1", "-P", "start"), "write -P NAME=VALUE"),
        (("plan", "phase1", "-P", "start=1", "-P", "start=2"), "-P start was given twice"),
        (("plan", "--experiment-name", "a", "--experiment-id", "0"), "not both"),
        (("quarantine", "0" * 32, "--reason", "why"), "there is no such run in this tracking store"),
        (("quarantine", "0" * 32), "give --reason WHY to quarantine a run, or --lift"),
        (("status", "--project", "nowhere"), "there is no such folder"),
    ],
)
def test_a_command_that_makes_no_sense_ends_with_2_and_says_what_would(
    four: ProjectFolder, words: tuple[str, ...], said: str
) -> None:
    result = four.cli(*words)
    assert (result.exit_code, said in result.text) == (2, True), result.text


def test_status_shows_each_phase_with_what_became_of_it(four: ProjectFolder) -> None:
    table = four.cli("status")
    assert table.exit_code == 0, table.text
    rows = {line.split()[0]: line for line in table.text.splitlines() if line.startswith("phase")}
    assert "up to date" in rows["phase2"]
    assert "fidelity 0.989 (good)" in rows["phase2"]
    assert four.newest("phase2").info.run_id[:8] in rows["phase2"]

    assert four.run("phase1", start=5, decide="rerun").exit_code == 0
    four.executed()
    four.client.set_tag(four.newest("phase3").info.run_id, "phase.quarantined", "wrong labels")
    states = {one["phase"]: one for one in printed_json(four, "status")}
    assert {name: one["state"] for name, one in states.items()} == {
        "phase1": "up to date",
        "phase2": "stale",
        "phase3": "quarantined",
        "phase4": "quarantined",
    }
    assert states["phase2"]["matches_upstream"] is False
    assert states["phase1"]["run_id"] == four.newest("phase1").info.run_id
    assert states["phase1"]["duration_seconds"] > 0


def test_status_shows_a_phase_that_waits_for_an_answer(four: ProjectFolder) -> None:
    with started(four, *run_words("phase1", PHASES, start=5, decide="wait")) as waiting:
        waiting.wait_for("Waiting for: mlflow-phases answer")
        states = {one["phase"]: one for one in printed_json(four, "status")}
    assert states["phase1"]["state"] == "asking"
    assert f"mlflow-phases answer {four.newest('phase1').info.run_id} A" in states["phase1"]["remarks"][-1]


def test_nothing_built_on_a_quarantined_run_is_reused_until_the_mark_is_lifted(four: ProjectFolder) -> None:
    run_id = four.newest("phase2").info.run_id
    marked = four.cli("quarantine", run_id, "--reason", "wrong labels")
    assert (marked.exit_code, "is quarantined: wrong labels" in marked.text) == (0, True), marked.text

    actions = {one["phase"]: one["action"] for one in printed_json(four, "plan")["phases"]}
    assert actions["phase1"] == "reuse"
    assert "reuse" not in (actions["phase2"], actions["phase3"], actions["phase4"])

    lifted = four.cli("quarantine", run_id, "--lift")
    assert (lifted.exit_code, "may be used again" in lifted.text) == (0, True), lifted.text
    assert {one["action"] for one in printed_json(four, "plan")["phases"]} == {"reuse"}

    again = four.cli("quarantine", run_id, "--lift")
    assert (again.exit_code, "is not quarantined" in again.text) == (2, True), again.text


def test_doctor_finds_nothing_missing_where_a_pipeline_has_run(four: ProjectFolder) -> None:
    result = four.command("mlflow-phases", "doctor")
    assert result.exit_code == 0, result.text
    for what in ("project", "environment", "tracking store", "backend", "hardware"):
        assert f"ok       {what}: " in result.text


def test_doctor_names_what_is_missing_and_looks_at_the_rest(four: ProjectFolder) -> None:
    (four.folder / "MLproject").write_text("entry_points: [a")
    result = four.cli("doctor")
    assert result.exit_code == 1, result.text
    assert "MISSING  project: " in result.text
    assert "ok       tracking store: " in result.text
    assert "Traceback" not in result.text


def test_a_plan_says_when_the_files_of_a_run_are_gone(four: ProjectFolder) -> None:
    lost = four.newest("phase3")
    shutil.rmtree(Path(lost.info.artifact_uri) / "outputs")
    planned = {one["phase"]: one for one in printed_json(four, "plan")["phases"]}
    assert planned["phase3"]["action"] == "run"
    assert "lost its outputs: result.json is gone" in planned["phase3"]["reasons"][0]
