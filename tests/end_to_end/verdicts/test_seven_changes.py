"""After each of seven changes exactly the right phases are computed by `-b phases`; tests/nightly repeats them on
MLflow's local backend and with scripts that do not import the plugin.
"""

import pytest
from four_phases import PHASE_NAMES, finished
from project_folder import PHASES, ProjectFolder
from seven_changes import CHANGES, Change, check

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("ask_always")]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_exactly_what_a_change_affects_is_computed(project: ProjectFolder, change: Change) -> None:
    check(finished(project), PHASES, change)


def test_a_pipeline_whose_phases_were_run_again_is_finished_again(project: ProjectFolder) -> None:
    finished(project).edit("helper.py", "x + 1", "x + 100")
    assert project.run("main", decide="rerun").exit_code == 0
    assert project.executed() == ["phase2", "phase3", "phase4"]

    assert project.run("main").exit_code == 0
    assert project.executed() == []
    assert [project.newest(name).data.tags["phase.verdict"] for name in PHASE_NAMES] == ["reuse"] * 4


def test_a_single_phase_is_asked_about_when_the_one_before_it_has_new_bytes(project: ProjectFolder, route: str) -> None:
    finished(project).edit("helper.py", "x + 1", "x + 100")
    assert project.run("phase2", decide="rerun").exit_code == 0
    assert project.executed() == ["phase2"]

    asked = project.run("phase3", route)
    assert (asked.exit_code, project.executed()) == (3, []), asked.text
    assert "was made from phase2" in asked.text
    assert "its output differs" in asked.text

    assert project.run("phase3", route, decide="rerun").exit_code == 0
    assert project.executed() == ["phase3"]
    assert project.output(project.newest("phase3")) == [1, 104, 3]


def test_going_back_to_the_code_before_an_edit_finds_its_results_again(project: ProjectFolder) -> None:
    before = finished(project).newest("phase4").info.run_id
    project.edit("helper.py", "x + 1", "x + 100")
    assert project.run("main", decide="rerun").exit_code == 0
    project.edit("helper.py", "x + 100", "x + 1")
    project.executed()

    assert project.run("main").exit_code == 0
    assert project.executed() == []
    assert project.newest("phase4").data.tags["phase.reused_run_id"] == before
    assert "phase.invalidated_by" not in project.client.get_run(before).data.tags


def test_the_mlflow_command_ends_with_3_at_the_first_phase_that_a_change_affects(project: ProjectFolder) -> None:
    finished(project).edit("helper.py", "x + 1", "x + 100")

    result = project.command("mlflow", "run", ".", "-e", "main", "-b", "phases")

    assert result.exit_code == 3, result.text
    assert "mlflow run . -e main -b phases -P decide=rerun" in result.text
    assert project.executed() == []
