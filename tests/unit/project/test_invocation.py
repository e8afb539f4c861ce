import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_plugin.project.invocation import Invocation, env_manager_of


def test_the_command_repeats_what_was_typed_with_some_parameters_replaced():
    typed = Invocation(Path.cwd(), "train", {"epochs": 20, "decide": "ask"}, "phases", "7")
    assert typed.command(decide="rerun") == (
        "mlflow run . -e train -b phases --experiment-id 7 -P epochs=20 -P decide=rerun"
    )


def test_another_entry_point_is_called_without_this_ones_parameters():
    typed = Invocation(Path.cwd(), "train", {"epochs": 20})
    assert typed.command("collect", decide="rerun") == "mlflow run . -e collect -P decide=rerun"


def test_the_default_experiment_is_not_named():
    assert "experiment" not in Invocation(Path.cwd(), "train", experiment_id="0").command()


def test_the_project_is_named_as_seen_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Invocation(tmp_path / "a" / "b", "train").command() == "mlflow run a/b -e train"
    assert Invocation(Path("/elsewhere"), "train").command() == "mlflow run /elsewhere -e train"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_shell_reads_back_any_value(value):
    words = shlex.split(Invocation(Path.cwd(), "train", {"prompt": value}).command())
    assert words[-2:] == ["-P", f"prompt={value}"]


def test_a_given_environment_manager_is_repeated():
    typed = Invocation(Path.cwd(), "train", env_manager="local")
    assert typed.command(decide="reuse") == "mlflow run . -e train -P decide=reuse --env-manager local"


@pytest.mark.parametrize(
    ("tags", "manager"),
    [
        ({}, "local"),
        ({"mlflow.project.env": "conda"}, "conda"),
        ({"mlflow.project.env": "virtualenv"}, "virtualenv"),
        ({"mlflow.project.env": "docker"}, ""),
    ],
)
def test_the_environment_manager_is_read_from_the_tags_of_mlflow(tags, manager):
    assert env_manager_of(tags) == manager
