"""What a process tree was given: which of its variables count, by what was seen and by the text of the code."""

from pathlib import Path

import pytest

from mlflow_plugin.observation.beginning import WHOLE_ENVIRONMENT, Beginning
from mlflow_plugin.observation.coverage import ISOLATED
from mlflow_plugin.observation.recorder import load
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.standard_input import StandardInput
from mlflow_plugin.observation.variables import variable_digest


def completed(environment: dict[str, str], *files: Path, command: str = "", **seen: object) -> Recording:
    """A recording that saw something, completed for a tree that was given an environment."""
    return Beginning(environment, StandardInput()).completed(Recording("full", **seen), command, files)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("python main.py --lr $LRX", {"LRX"}),
        ('python main.py "${MODE:-fast}"', {"MODE"}),
        ("python main.py ${{MODE}}", {"MODE"}),
        ("MODE=${MODE:-fast}; python main.py $MODE", {"MODE"}),
        ("for one in a b; do cat $one; done; read -r line; echo $line; made=1; echo $made", set()),
        ("printenv LRX", {"LRX"}),
        ("echo $HOME $1 $? $CUDA_VISIBLE_DEVICES", set()),
        ("env | grep APP_", {"*"}),
        ("env APP=1 python main.py", set()),
    ],
)
def test_the_variables_that_the_text_of_a_shell_names(text: str, named: set[str]) -> None:
    assert load("variables").shell_variables(text, {}) == named


def test_a_variable_that_a_shell_sets_counts_where_it_was_given_one() -> None:
    assert load("variables").shell_variables("[ $1 ] && RATE=1; echo $RATE", {"RATE": "2"}) == {"RATE"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.sh", "echo $RATE"),
        ("run", "#!/bin/sh\necho ${RATE}"),
        ("Makefile", "train:\n\tpython main.py $(RATE)\n"),
        ("run.pl", "print $ENV{RATE};"),
        ("run.rb", "puts ENV['RATE']"),
        ("run.jl", 'println(ENV["RATE"])'),
        ("run.js", "console.log(process.env.RATE)"),
        ("run.R", 'print(Sys.getenv("RATE"))'),
    ],
)
def test_the_variables_that_a_script_of_another_language_names(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert completed({"RATE": "1"}, path).variables == {"RATE": variable_digest("1")}
    assert not completed({"OTHER": "1"}).variables


def test_a_copy_of_the_environment_is_said_and_names_in_quotes_count(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("given = dict(os.environ)\ngiven['RATE']\n[n for n in given if n.startswith('APP_')]\n")
    made = completed({"RATE": "1", "APP_SIZE": "2", "OTHER": "3"}, copies=frozenset([str(path)]))
    assert set(made.variables) == {"RATE", "APP_SIZE"}
    assert made.partly == (WHOLE_ENVIRONMENT,)


def test_a_python_that_leaves_out_the_observation_counts_by_its_text(tmp_path: Path) -> None:
    path = tmp_path / "main.py"
    path.write_text("import os\nprint(os.environ['RATE'])")
    made = completed({"RATE": "1"}, path, partly=(ISOLATED,))
    assert set(made.variables) == {"RATE"}
    assert ISOLATED in made.partly
    assert not completed({"RATE": "1"}, path).variables


def test_a_variable_that_the_tree_set_for_itself_is_no_input() -> None:
    one, two = variable_digest("1"), variable_digest("2")
    seen = {"variables": {"RATE": two}, "values": {"RATE": frozenset([two])}}
    assert not completed({}, **seen).variables
    assert not completed({"RATE": "1"}, **seen).variables
    assert completed({"RATE": "2"}, **seen).variables == {"RATE": two}
    both = {"variables": {"RATE": two}, "values": {"RATE": frozenset([one, two])}}
    assert completed({"RATE": "1"}, **both).variables == {"RATE": one}


def test_a_process_of_the_tree_knows_what_it_was_given(tmp_path: Path) -> None:
    Beginning({"RATE": "1", "API_KEY": "hidden"}, StandardInput()).save(tmp_path)
    assert "hidden" not in (tmp_path / "beginning").read_text()
    assert "API_KEY" in (tmp_path / "beginning").read_text()
    made = Beginning.of(tmp_path).completed(Recording("full"), "echo $RATE $API_KEY", [])
    assert made.variables == {"RATE": variable_digest("1"), "API_KEY": None}
