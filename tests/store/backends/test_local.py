"""The parameters of a phase's command, and the run whose result could not be recorded."""

from pathlib import Path

import mlflow
import pytest

from mlflow_plugin.backends import execution
from mlflow_plugin.backends.execution import ExecutionSettings, execute_phase
from mlflow_plugin.errors import PhaseError


def test_a_result_that_cannot_be_recorded_ends_the_run_as_failed(demo, monkeypatch):
    def refuse(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execution, "complete_work", refuse)
    with pytest.raises(PhaseError) as error:
        execute_phase(demo.request("collect"), ExecutionSettings(), lambda resolution, settings, heartbeat: 0)
    run = demo.history().recent("collect", 1)[0]
    assert run.status == "FAILED"
    assert run.reason == "collect: its result could not be recorded: OSError: [Errno 28] No space left on device"
    assert str(error.value) == f"{run.reason}. What it logged is kept in run {run.run_id}."
    assert not run.complete


PROJECT = """\
entry_points:
  train:
    parameters:
      data: {type: string, default: own.jsonl}
      model: {type: string, default: auto}
    command: "cp {data} copied && echo {model} > model"
    phase: {paths: [data, model]}
"""


@pytest.mark.parametrize(("given", "content"), [({}, "project"), ({"data": "own.jsonl"}, "caller")])
def test_a_file_is_found_where_it_was_typed_and_a_default_where_the_project_lies(
    given: dict[str, object], content: str, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, caller = tmp_path / "project", tmp_path / "caller"
    for folder in (project, caller):
        folder.mkdir()
        (folder / "own.jsonl").write_text(folder.name)
    (project / "MLproject").write_text(PROJECT)
    monkeypatch.chdir(caller)
    mlflow.projects.run(str(project), "train", parameters=given, backend="phases", env_manager="local")
    assert (project / "copied").read_text() == content
    assert (project / "model").read_text() == "auto\n"
