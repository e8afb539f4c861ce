"""Every one of the seven changes on MLflow's local backend, and with scripts that do not import the plugin.

Cheaper siblings in tests/end_to_end/verdicts/test_seven_changes.py: every change by `-b phases`; the local backend
in tests/end_to_end/verdicts/test_worth.py; scripts without the plugin in tests/end_to_end/projects/test_any_project.py.
"""

import pytest
from four_phases import WITHOUT_PLUGIN, finished
from project_folder import LOCAL, PHASES, ProjectFolder
from seven_changes import CHANGES, Change, check

from tests.end_to_end.verdicts import test_seven_changes
from tests.nightly.repeated import repeated

# The single phase that is asked about, on the local backend.
globals().update(repeated(test_seven_changes, "route"))

every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)


@every_change
def test_exactly_what_a_change_affects_is_computed_on_the_local_backend(project: ProjectFolder, change: Change) -> None:
    """Cheaper sibling: test_exactly_what_a_change_affects_is_computed."""
    check(finished(project), LOCAL, change)


@every_change
def test_the_same_holds_for_scripts_that_do_not_import_the_plugin(project: ProjectFolder, change: Change) -> None:
    """Cheaper sibling: tests/end_to_end/projects/test_any_project.py."""
    check(finished(project, WITHOUT_PLUGIN), PHASES, change)


def test_the_mlflow_command_fails_and_shows_the_question_when_a_change_needs_an_answer(project: ProjectFolder) -> None:
    """Cheaper sibling: tests/end_to_end/questions/test_asking.py, with a single phase in place of the pipeline."""
    finished(project).edit("helper.py", "x + 1", "x + 100")

    result = project.command("mlflow", "run", ".", "-e", "main", "--env-manager", "local")

    assert result.exit_code == 1, "MLflow's command says 1 whatever its child's exit code was"
    assert "mlflow run . -e main -P decide=rerun" in result.text
    assert project.executed() == []
