"""Which calls of `mlflow.run` in the process of a phase are handed down, and what the step takes over."""

import json
import logging
import os
import sys

import mlflow
import pytest
from mlflow.exceptions import ExecutionException

from mlflow_plugin.backends import steps
from mlflow_plugin.backends.steps import prepared
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution.observer import SWITCH
from mlflow_plugin.execution.steps import (
    MOST_CALLERS,
    VARIABLE,
    Caller,
    StepAsks,
    StepFailed,
    current_step,
    end_with_one_message,
)
from mlflow_plugin.observation.beginning import Beginning
from mlflow_plugin.observation.calls import RecordedCall
from mlflow_plugin.observation.standard_input import StandardInput
from mlflow_plugin.observation.variables import variable_digest
from mlflow_plugin.store.run import PhaseRun

STOCK = mlflow.projects.run


@pytest.fixture(autouse=True)
def in_a_phase(demo, monkeypatch):
    """Be in the process of a phase whose caller told what it hands down, in the folder of the demo project."""
    monkeypatch.chdir(demo.folder)
    monkeypatch.setattr(steps, "_told", set())
    handed_down(monkeypatch, "a" * 32)


def handed_down(monkeypatch, *run_ids: str, env_manager: str = "", decide: str = "ask") -> None:
    monkeypatch.setenv(VARIABLE, json.dumps({"run_ids": run_ids, "env_manager": env_manager, "decide": decide}))


@pytest.mark.parametrize("uri", [".", "file://{folder}", "{folder}", "..#{name}"])
def test_a_phase_of_a_local_folder_is_handed_down(demo, uri):
    uri = uri.format(folder=demo.folder, name=demo.folder.name)
    assert prepared(STOCK, (uri, "collect"), {}) is not None
    assert prepared(STOCK, (uri,), {"entry_point": "main", "backend": "phases"}) is not None
    assert prepared(STOCK, (uri,), {"backend": None, "env_manager": "local"}) is not None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"uri": "https://example.org/steps#clean"}, "it is no folder of this machine"),
        ({"backend": "local"}, "the call names backend='local'"),
        ({"backend": "kubernetes"}, "the call names backend='kubernetes'"),
        ({"synchronous": False}, "the call says synchronous=False"),
        ({"version": "main"}, "the call names a version"),
    ],
)
def test_what_cannot_be_handed_down_is_left_to_mlflow_with_one_warning(given, why, caplog):
    for _ in range(2):
        assert prepared(STOCK, (), {"uri": ".", "entry_point": "collect", **given}) is None
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert f"is not decided on, since {why}" in warnings[0]


def test_a_project_in_a_container_is_left_to_mlflow(demo, caplog):
    demo.edit("MLproject", "name: demo\n", "name: demo\ndocker_env: {image: trainer}\n")
    assert prepared(STOCK, (".", "collect"), {}) is None
    assert "since it runs in a container of trainer" in caplog.text


@pytest.mark.parametrize("given", [{"entry_point": "other"}, {"entry_point": "gone"}, {"colour": "red"}])
def test_what_is_no_phase_or_wrong_is_left_to_mlflow_without_a_word(demo, given, caplog):
    with (demo.folder / "MLproject").open("a") as file:
        file.write("  other: {command: echo}\n")
    assert prepared(STOCK, (), {"uri": ".", **given}) is None
    assert not caplog.records


def test_a_malformed_key_is_told_when_the_step_is_executed(demo):
    demo.edit("MLproject", "phase: {}", "phase: {nead: []}")
    step = prepared(STOCK, (".", "collect"), {})
    assert step is not None
    with pytest.raises(ExecutionException, match=r"key `phase\.nead`: unknown key"):
        step()


def test_calls_that_lie_too_deep_are_refused(monkeypatch):
    handed_down(monkeypatch, *("a" * 32 for _ in range(MOST_CALLERS + 1)))
    step = prepared(STOCK, (".", "collect"), {})
    assert step is not None
    with pytest.raises(ExecutionException, match="21 phases call each other"):
        step()


def test_a_step_takes_over_what_its_caller_was_given(demo, monkeypatch):
    given = []
    handed_down(monkeypatch, "a" * 32, env_manager="local", decide="reuse")

    def run(uri, entry_point="main", parameters=None, backend="local", env_manager=None, run_id=None):
        given.append((entry_point, parameters, backend, env_manager, run_id))
        return "submitted"

    for options in ({}, {"env_manager": "conda", "parameters": {"decide": "fail", "seed": 1}, "run_id": "b" * 32}):
        step = prepared(run, (".", "collect"), options)
        assert step is not None
        assert step() == "submitted"
    # The run that the caller names is taken over by the backend, since MLflow hands it to its own alone.
    assert given == [
        ("collect", {"decide": "reuse"}, "phases", "local", None),
        ("collect", {"decide": "fail", "seed": 1}, "phases", "conda", None),
    ]


def test_a_caller_that_decided_by_itself_is_known_by_its_run(demo, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    assert Caller.of_this_process(demo.client) is None
    run_id = demo.compute("collect")
    demo.client.set_tag(run_id, "mlflow.project.env", "conda")
    demo.client.log_param(run_id, "decide", "rerun")
    monkeypatch.setenv("MLFLOW_RUN_ID", run_id)
    assert Caller.of_this_process(demo.client) == Caller((run_id,), "conda", "rerun")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run_ids": 1}'])
def test_a_malformed_variable_is_as_none(demo, monkeypatch, text):
    monkeypatch.setenv(VARIABLE, text)
    assert Caller.of_this_process(demo.client) is None


def test_a_run_without_keys_between_two_phases_is_a_caller_too(demo, monkeypatch):
    monkeypatch.setenv("MLFLOW_RUN_ID", "b" * 32)
    caller = Caller.of_this_process(demo.client)
    assert caller is not None
    assert caller.run_ids == ("a" * 32, "b" * 32)


@pytest.fixture
def told(monkeypatch) -> list[RecordedCall]:
    """The calls that were recorded."""
    calls: list[RecordedCall] = []
    monkeypatch.setattr(RecordedCall, "tell", lambda call: calls.append(call))
    return calls


def executed(run) -> None:
    step = prepared(run, (".", "collect"), {})
    assert step is not None
    step()


def test_a_step_that_fails_or_asks_is_recorded_without_a_result(told):
    def failing(uri, entry_point="main", parameters=None, backend="local", env_manager=None):
        raise PhaseError("collect: it failed")

    def asking(uri, entry_point="main", parameters=None, backend="local", env_manager=None):
        raise NeedsAnswer("which one?")

    with pytest.raises(StepFailed, match="collect: it failed"):
        executed(failing)
    with pytest.raises(StepAsks) as asked:
        executed(asking)
    assert (asked.value.code, asked.value.reason.endswith("#collect needs an answer")) == (3, True)
    assert [(call.results, call.question) for call in told] == [({}, ""), ({}, "which one?")]


def test_an_error_of_a_step_that_nobody_catches_ends_the_script_with_one_message(monkeypatch, caplog):
    others: list[object] = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: others.append(error))
    end_with_one_message()
    end_with_one_message()
    sys.excepthook(StepFailed, StepFailed("collect: it failed"), None)
    assert [record.getMessage() for record in caplog.records] == ["collect: it failed"]
    sys.excepthook(ValueError, ValueError("a fault of the script"), None)
    assert len(others) == 1


def test_a_call_keeps_the_variables_that_the_script_has_set_and_the_files_of_the_step(
    demo, told, tmp_path, monkeypatch
):
    monkeypatch.setenv("GONE", "1")
    monkeypatch.setenv("API_KEY", "before")
    Beginning(os.environ, StandardInput()).save(tmp_path)
    monkeypatch.setenv(SWITCH, str(tmp_path))
    monkeypatch.setenv("DATA", "d1.txt")
    monkeypatch.setenv("API_KEY", "after")
    monkeypatch.delenv("GONE")

    def run(uri, entry_point="main", parameters=None, backend="local", env_manager=None):
        step = current_step.get()
        assert step is not None
        step.take("collect", PhaseRun("b" * 32, "collect", outputs={"sizes": {"project_files/out.txt": 1, "a.txt": 1}}))

    executed(run)
    assert told[0].variables == {"DATA": variable_digest("d1.txt"), "GONE": ""}
    assert told[0].left == (str(demo.folder / "out.txt"),)
