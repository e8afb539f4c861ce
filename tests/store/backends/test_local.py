"""The parameters of a phase's command, and the run whose result could not be recorded."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from mlflow_plugin.backends import execution, local
from mlflow_plugin.backends.execution import ExecutionSettings, execute_phase
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.observer import Observer
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.resolution import resolve_request
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store.run_decoding import phase_run


def test_a_result_that_cannot_be_recorded_ends_the_run_as_failed(demo, monkeypatch):
    def refuse(*args: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(execution, "complete_work", refuse)
    with pytest.raises(PhaseError) as error:
        execute_phase(demo.request("collect"), ExecutionSettings(), lambda *arguments: 0)
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


# --- several phases at once ---

THREADS = """\
name: threads
entry_points:
  collect:
    parameters:
      seed: int
    command: "echo {seed} >> collected"
    phase: {outputs: []}
  train:
    parameters:
      number: int
      collect_run_id: {type: string, default: latest}
    command: "sleep .2; echo $PHASE_INPUT_COLLECT $PHASE_INPUT_OTHER {collect_run_id} $MLFLOW_RUN_ID > trained-{number}"
    phase: {needs: [collect]}
  fails:
    command: "exit 3"
    phase: {}
"""


@pytest.fixture
def threads(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose commands need no Python."""
    folder = tmp_path / "threads"
    folder.mkdir()
    (folder / "MLproject").write_text(THREADS)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(local, "facts_of_environment", lambda manager, command: {})
    return folder


def run(folder: Path, entry_point: str, **parameters: object) -> str:
    return str(
        mlflow.projects.run(
            str(folder), entry_point, parameters=parameters, backend="phases", env_manager="local"
        ).run_id
    )


def test_phases_that_are_started_from_threads_have_their_own_inputs_and_leave_the_environment_as_it_was(
    threads: Path, monkeypatch: pytest.MonkeyPatch
):
    mlflow.set_tracking_uri(mlflow.get_tracking_uri())  # MLflow itself keeps it in the environment.
    monkeypatch.setenv("PHASE_INPUT_OTHER", "0" * 32)  # As in a phase that starts others.
    collected = [run(threads, "collect", seed=seed) for seed in range(3)]
    before = dict(os.environ)
    with ThreadPoolExecutor(3) as pool:
        starts = [
            pool.submit(run, threads, "train", number=number, collect_run_id=used)
            for number, used in enumerate(collected)
        ]
    assert dict(os.environ) == before
    for number, (used, start) in enumerate(zip(collected, starts, strict=True)):
        assert (threads / f"trained-{number}").read_text().split() == [used, used, start.result()]


def test_the_run_shows_which_run_a_pin_was_resolved_to(threads: Path, store: str):
    client = MlflowClient()
    first = run(threads, "collect", seed=0)
    trained = run(threads, "train", number=0)
    assert client.get_run(trained).data.params == {"number": "0", "collect_run_id": first}
    reused = run(threads, "train", number=0)
    assert client.get_run(reused).data.params["collect_run_id"] == first


def test_a_run_that_ends_before_its_inputs_are_resolved_shows_the_pin_as_it_was_given(demo):
    request = demo.request("train", collect_run_id="latest")
    run_id = demo.records.create(request)
    assert "collect_run_id" not in demo.client.get_run(run_id).data.params
    demo.records.fail(run_id, "the store was away")
    assert demo.client.get_run(run_id).data.params["collect_run_id"] == "latest"


def test_a_run_that_is_started_inside_an_active_run_nests_below_it(threads: Path, store: str):
    client = MlflowClient()
    with mlflow.start_run() as parent:
        nested = run(threads, "collect", seed=0)
        assert mlflow.active_run().info.run_id == parent.info.run_id
    assert client.get_run(nested).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "mlflow.parentRunId" not in client.get_run(run(threads, "collect", seed=1)).data.tags


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("exit 3", 3),
        ("false | cat", 1),
        ("kill -KILL $$", 137),
        ("true", 0),
        ("set +o pipefail; false | cat", 0),
        ("""echo 'it is "quoted" $HOME' > said""", 0),
    ],
)
def test_the_exit_code_is_that_of_the_command(
    threads: Path, command: str, code: int, capfd: pytest.CaptureFixture[str]
):
    (threads / "MLproject").write_text(THREADS.replace('"exit 3"', json.dumps(command)))
    records = Records(MlflowClient())
    request = Request(load_project(threads), load_project(threads).phase("fails"), {}, records.client, "0")
    resolution = resolve_request(request, records, lambda: records.create(request))
    heartbeat = Heartbeat(records, resolution.run_id)
    observer = Observer(request, phase_run(records.client.get_run(resolution.run_id)), {})
    settings = ExecutionSettings({"ENV_MANAGER": "local"})
    assert local.launch_locally(resolution, settings, heartbeat, observer) == code
    observer.close()
    assert "bash: line" not in capfd.readouterr().err
    if code == 0 and "said" in command:
        assert (threads / "said").read_text() == 'it is "quoted" $HOME\n'
