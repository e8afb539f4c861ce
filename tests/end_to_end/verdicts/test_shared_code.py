"""A phase is computed again when a module that projects share changed, and reused when only a comment did."""

from pathlib import Path

import pytest
from project_folder import LOCAL, PHASES, ProjectFolder, recording

pytestmark = pytest.mark.end_to_end

MLPROJECT = """name: shares
entry_points:
  measure:
    parameters:
      decide: {type: string, default: ask}
    command: "COMMAND"
    phase: {}
"""
SCRIPT = f"""import sys
from pathlib import Path
PATHimport maths
from mlflow_plugin import start_phase
with start_phase() as phase:
    {recording("measure").strip().replace(chr(10), chr(10) + "    ")}
    phase.output("result.json", lambda path: path.write_text(str(maths.FACTOR)))
"""
BY_SCRIPT = ("python measure.py", "sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'common'))\n")
BY_COMMAND = ("PYTHONPATH=../common python measure.py", "")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """Return a module in a folder beside the project."""
    module = tmp_path / "common" / "maths.py"
    module.parent.mkdir()
    module.write_text("FACTOR = 2\n")
    return module


def test_a_changed_shared_module_computes_the_phase_and_a_comment_in_it_does_not(
    project: ProjectFolder, shared: Path
) -> None:
    check(project, shared, *BY_COMMAND, "maths.py", PHASES, LOCAL)


def check(project: ProjectFolder, shared: Path, command: str, path: str, name: str, first: str, route: str) -> None:
    """Compute the phase, change the module, and change a comment in it.

    Args:
        project: The empty project.
        shared: The module.
        command: The command of the phase.
        path: The line of the script that lets it find the module.
        name: The module as messages name it.
        first: The route of the first run.
        route: The route of the next.
    """
    project.write({"MLproject": MLPROJECT.replace("COMMAND", command), "measure.py": SCRIPT.replace("PATH", path)})
    if name.startswith(".."):
        (shared.parents[1] / ".git").mkdir()
    assert project.run("measure", first).exit_code == 0
    assert project.executed() == ["measure"]

    shared.write_text("FACTOR = 3\n")
    changed = project.run("measure", route)
    assert (changed.exit_code, project.executed()) == (0, ["measure"]), changed.text
    assert f"differs in the code of {name}" in changed.text
    assert project.output(project.newest("measure")) == 3

    compared = project.command("mlflow-phases", "compare", *(run.info.run_id for run in project.runs("measure")[::-1]))
    assert name in compared.text
    assert "-FACTOR = 2" in compared.text

    shared.write_text("FACTOR = 3  # three\n")
    for again in (route, first):
        reused = project.run("measure", again)
        assert (reused.exit_code, project.executed()) == (0, []), reused.text
        assert project.newest("measure").data.tags["phase.verdict"] == "reuse"
