"""After each of seven changes exactly the right phases are computed by MLflow's own local backend."""

import pytest
from four_phases import finished
from project_folder import LOCAL, ProjectFolder
from seven_changes import CHANGES, Change, check

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_exactly_what_a_change_affects_is_computed(project: ProjectFolder, change: Change) -> None:
    check(finished(project), LOCAL, change)


def test_the_mlflow_command_fails_and_shows_the_question_when_a_change_needs_an_answer(project: ProjectFolder) -> None:
    finished(project).edit("helper.py", "x + 1", "x + 100")

    result = project.command("mlflow", "run", ".", "-e", "main", "--env-manager", "local")

    assert result.exit_code == 1, "MLflow's command says 1 whatever its child's exit code was"
    assert "mlflow run . -e main -P decide=rerun" in result.text
    assert project.executed() == []
