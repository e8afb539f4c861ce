"""What a run was worth: which value of its quality counts, whether it ended well, and which files are its output."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from mlflow.entities import Run
from project_folder import LOCAL, PHASES, ProjectFolder

from mlflow_plugin import find_reusable
from mlflow_plugin.store.run_decoding import phase_run

MakeProject = Callable[[Mapping[str, str]], ProjectFolder]

MLPROJECT = """name: worth
entry_points:
  train:
    parameters:
      decide: {type: string, default: ask}
    command: "python train.py"
    phase:
      quality: {metric: accuracy, good: 0.8, poor: 0.6}
  report:
    command: "python report.py"
    phase: {needs: [train]}
"""
HELD = "import mlflow\nfrom mlflow_plugin import start_phase\nwith start_phase() as phase:\n"
PLAIN = "import mlflow\nwith mlflow.start_run():\n"
REPORT = HELD + '    phase.output("report.txt", lambda path: path.write_text("written"))\n'
GOOD = 'mlflow.log_text("weights", "model.txt")\nmlflow.log_metric("accuracy", 0.9)'


def project_of(make_project: MakeProject, body: str, *, held: bool = True) -> ProjectFolder:
    script = (HELD if held else PLAIN) + "".join(f"    {line}\n" for line in body.splitlines())
    return make_project({"MLproject": MLPROJECT, "train.py": script, "report.py": REPORT})


def ended(run: Run) -> tuple[str, bool]:
    """Return how a run ended for the plugin, and whether it is complete."""
    read = phase_run(run)
    return read.status, read.complete


# A script that holds its phase has both routes, one that knows nothing of the plugin has the backend's.
ROUTES_OF_SCRIPTS = pytest.mark.parametrize(
    ("route", "held"), [(LOCAL, True), (PHASES, False)], ids=["held-local", "plain-phases"]
)


@ROUTES_OF_SCRIPTS
def test_the_quality_is_the_value_that_was_logged_last_and_not_the_one_of_the_last_step(
    make_project: MakeProject, route: str, held: bool
) -> None:
    steps = 'for step in range(3):\n    mlflow.log_metric("accuracy", 0.1, step=step)\n'
    project = project_of(make_project, steps + GOOD, held=held)
    assert project.run("train", route).exit_code == 0
    first = project.newest("train")
    assert first.data.metrics["accuracy"] == 0.1  # MLflow shows the highest step.
    assert "accuracy 0.9" in first.data.tags["mlflow.runName"]
    project.client.log_metric(first.info.run_id, "accuracy", 0.0, step=99)  # It comes too late to count.
    assert find_reusable(project.folder, "train").action == "reuse"


@ROUTES_OF_SCRIPTS
def test_a_command_that_fails_inside_a_pipe_is_not_complete(make_project: MakeProject, route: str, held: bool) -> None:
    project = project_of(make_project, "raise ValueError('no data')", held=held)
    project.edit("MLproject", "python train.py", "python train.py | tee log.txt")
    result = project.run("train", route)
    # MLflow's own backend takes the exit code of `tee`, and calls the run finished.
    assert result.exit_code == (1 if route == PHASES else 0), result.text
    failed = project.newest("train")
    assert ended(failed) == ("FAILED", False)
    assert find_reusable(project.folder, "train").action == "run"


@pytest.mark.parametrize(
    ("route", "held", "status"), [(LOCAL, True, "FAILED"), (PHASES, True, "KILLED"), (PHASES, False, "FAILED")]
)
def test_a_run_that_its_script_ended_as_failed_is_not_complete_though_the_script_ends_well(
    make_project: MakeProject, route: str, held: bool, status: str
) -> None:
    project = project_of(make_project, f'{GOOD}\nmlflow.end_run("{status}")', held=held)
    result = project.run("train", route)
    assert result.exit_code == 1, result.text
    run = project.newest("train")
    assert ended(run) == (status, False)
    assert f"its script ended its MLflow run as {status}" in run.data.tags["phase.reason"]
    assert "not complete" in run.data.tags["mlflow.note.content"]
    assert "Traceback" not in result.text


MODEL = """\
import mlflow
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input
mlflow.models.set_model(Model())
"""
LOG_MODEL = """\
mlflow.log_metric("accuracy", 0.9)
phase.output("words.txt", lambda path: path.write_text("one"))
mlflow.pyfunc.log_model(name="classifier", python_model="model.py", pip_requirements=[])
"""


@pytest.mark.parametrize("route", [LOCAL, PHASES])
def test_a_model_that_a_phase_logs_is_its_output_and_when_it_is_deleted_the_phase_runs_again(
    make_project: MakeProject, route: str
) -> None:
    project = project_of(make_project, LOG_MODEL)
    project.write({"model.py": MODEL})
    result = project.run("train", route)
    assert result.exit_code == 0, result.text
    first = project.newest("train")
    assert "models/classifier/MLmodel" in first.data.tags["mlflow.phase.outputs"]
    assert find_reusable(project.folder, "train").action == "reuse"
    (model,) = project.client.get_run(first.info.run_id).outputs.model_outputs
    project.client.delete_logged_model(model.model_id)
    project.run("train", route)
    again = project.newest("train")
    assert again.data.tags["phase.verdict"] == "run"
    # What is the same model to its last byte is the same output, whichever run logged it.
    assert again.data.tags["phase.output_digest"] == first.data.tags["phase.output_digest"]


def test_what_was_damaged_upstream_is_never_computed_on_and_the_command_in_the_message_repairs_it(
    make_project: MakeProject,
) -> None:
    project = project_of(make_project, GOOD)
    assert project.run("train").exit_code == 0
    (Path(project.newest("train").info.artifact_uri) / "model.txt").write_text("WEIGHTS")  # As many bytes as before.
    result = project.run("report", LOCAL)
    assert result.exit_code == 1, result.text
    (command,) = re.findall(r"`(mlflow run [^`]*)` makes them again", result.text)
    assert project.command(*command.split()).exit_code == 0
    assert project.run("report", LOCAL).exit_code == 0
    assert ended(project.newest("report")) == ("FINISHED", True)
