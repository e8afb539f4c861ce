"""What a phase's process is handed: the variables that name its inputs, and the command that started it."""

import os

import pytest
from mlflow import MlflowClient

from mlflow_plugin.execution.handover import handed_request, named_inputs
from mlflow_plugin.store.run import PhaseRun


def shown() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("PHASE_INPUT_")}


def test_two_phases_in_one_process_never_see_the_inputs_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHASE_INPUT_OUTER", "from the process that started this one")
    before = dict(os.environ)
    with named_inputs({"collect": PhaseRun("a" * 32, "collect"), "my-labels": PhaseRun("b" * 32, "my-labels")}):
        assert shown() == {"PHASE_INPUT_COLLECT": "a" * 32, "PHASE_INPUT_MY_LABELS": "b" * 32}
        with named_inputs({"train": PhaseRun("c" * 32, "train")}):
            assert shown() == {"PHASE_INPUT_TRAIN": "c" * 32}
        assert set(shown()) == {"PHASE_INPUT_COLLECT", "PHASE_INPUT_MY_LABELS"}
    with pytest.raises(ValueError, match="inside"), named_inputs({}):
        raise ValueError("inside")
    assert dict(os.environ) == before


@pytest.mark.parametrize(("declared", "backend"), [("", " -b phases"), ("parameters: {decide: ask}", "")])
def test_a_printed_command_does_not_hand_an_undeclared_decide_to_the_script(tmp_path, monkeypatch, declared, backend):
    text = f"entry_points:\n  train:\n    command: python train.py\n    phase: {{}}\n    {declared}\n"
    (tmp_path / "MLproject").write_text(text)
    monkeypatch.chdir(tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path}/unused.db")
    request = handed_request(client, "c0ffee", "0", {"mlflow.project.entryPoint": "train"}, {})
    command = request.invocation.command(decide="reuse")
    assert command.endswith(f" -e train{backend} -P decide=reuse --env-manager local")
