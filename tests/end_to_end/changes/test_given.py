"""A change of what a phase is given besides files (variables, standard input) is seen, or said."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ('python main.py --rate "${{RATE:-1}}"', ""),
        ("bash run.sh", ""),
        ("python -I main.py", "import os\nos.environ['RATE']"),
        ("python main.py", "import os\ngiven = dict(os.environ)\ngiven['RATE']"),
        ("python main.py", "import os\nos.system('echo $RATE')"),
        (
            "python main.py",
            "import click\n@click.command()\n@click.option('--rate', envvar='RATE')\ndef main(rate): pass\nmain()",
        ),
    ],
    ids=["command", "script", "isolated", "copy", "shell", "click"],
)
def test_a_variable_by_whatever_way_it_is_read(changing, runs_after, command, text):
    changing.monkeypatch.setenv("RATE", "1")
    changing.declare(command)
    changing.script(text)
    changing.write("run.sh", "python main.py $RATE\n")
    assert "the variable RATE" in runs_after(lambda: changing.monkeypatch.setenv("RATE", "2"))


def test_a_variable_that_the_command_sets_itself_does_not_make_it_run_for_ever(changing, reuses_after):
    changing.declare("RATE=3 python main.py")
    changing.script("import os\nos.environ['RATE']")
    assert "inputs" in reuses_after(lambda: None)


def test_an_isolated_python_is_said_and_its_inputs_are_not_called_the_same(changing, reuses_after):
    changing.declare("python -E main.py")
    changing.script("import os\nos.environ.get('RA' + 'TE')")
    reason = reuses_after(lambda: None)
    assert "-E" in reason
    assert "inputs" not in reason


def test_standard_input_that_was_read_is_asked_about(changing):
    changing.script("import sys\nsys.stdin.read()")
    saved = os.dup(0)

    def start(text: bytes) -> str:
        reading, writing = os.pipe()
        os.write(writing, text)
        os.close(writing)
        os.dup2(reading, 0)
        os.close(reading)
        return changing.start().reason

    try:
        start(b"1")
        assert "standard input was read" in start(b"2")
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_an_artifact_of_another_run_of_the_experiment_and_an_alias_of_a_prompt(changing):
    import mlflow

    client = changing.store.client
    with mlflow.start_run() as run:
        mlflow.log_text("1", "x.txt")
    mlflow.genai.register_prompt("q", "one")
    mlflow.genai.set_prompt_alias("q", "prod", 1)
    changing.script(
        f"import mlflow\nmlflow.artifacts.load_text('runs:/{run.info.run_id}/x.txt')\n"
        "mlflow.genai.load_prompt('prompts:/q@prod')"
    )
    assert changing.start().computed
    client.log_text(run.info.run_id, "2", "x.txt")
    assert "x.txt" in changing.start().reason
    mlflow.genai.register_prompt("q", "two")
    mlflow.genai.set_prompt_alias("q", "prod", 2)
    assert "prompts:/q@prod" in changing.start().reason


def test_other_runs_that_the_script_looks_up_are_mentioned(changing, reuses_after):
    import mlflow

    mlflow.set_experiment("other")
    with mlflow.start_run():
        mlflow.log_metric("accuracy", 0.5)
    mlflow.set_experiment("Default")
    changing.script(
        "import mlflow\nprint(mlflow.search_runs(experiment_names=['other']))\n"
        "with mlflow.start_run(nested=True) as made:\n    pass\nmlflow.get_run(made.info.run_id)"
    )
    reason = reuses_after(lambda: None)
    assert "also read run " in reason
    assert "inputs" not in reason


@pytest.mark.parametrize(
    ("body", "is_own"),
    [
        ("import mlflow\nwith mlflow.start_run(nested=True):\n    pass", False),
        ("import subprocess\nsubprocess.run(['git', 'show', 'HEAD:main.py'], check=True)", True),
        ("import os\nos.system('git show HEAD:main.py')", True),
    ],
    ids=["mlflow", "subprocess", "shell"],
)
def test_a_repository_that_git_reads_for_the_projects_own_code_is_mentioned(changing, reuses_after, body, is_own):
    changing.script(body)
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], [*name, "commit", "-qm", "1"]):
        subprocess.run(["git", *command], cwd=changing.folder, check=True)
    reason = reuses_after(lambda: None)
    assert ("git show" in reason) is is_own
    assert ("inputs" in reason) is not is_own
