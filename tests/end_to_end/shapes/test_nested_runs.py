"""Row 19: a `main.py` that calls `mlflow.run` for each step is decided on step by step."""

import subprocess

import mlflow
import pytest

from tests.end_to_end.project_folder import LOCAL, ProjectFolder, recording
from tests.servers.process import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.end_to_end

MAIN = """
import os
import sys

import mlflow
import yaml

ROOT = os.path.dirname(os.path.abspath(__file__))


def go(steps):
    with open(os.path.join(ROOT, "config.yaml")) as file:
        config = yaml.safe_load(file)
    cleaned = os.path.join(ROOT, "src", "basic_cleaning", "clean.csv")
    mlflow.run(
        os.path.join(ROOT, "src", "basic_cleaning"),
        "main",
        parameters={"min_price": config["cleaning"]["min_price"], "output": "clean.csv"},
    )
    if "check" in steps:
        mlflow.run(os.path.join(ROOT, "src", "check"), parameters={"input": cleaned})
    with mlflow.start_run():
        trained = mlflow.projects.run(
            os.path.join(ROOT, "src", "train"),
            "main",
            parameters={"input": cleaned, "depth": config["training"]["depth"]},
        )
    return mlflow.MlflowClient().get_run(trained.run_id).data.tags["phase.verdict"]


if __name__ == "__main__":
    print("train came from a", go(sys.argv[1].split(",")))
"""
CLEANING = """
import sys
from pathlib import Path

rows = (Path(__file__).parents[2] / "data" / "raw.csv").read_text().split()
Path(sys.argv[2]).write_text("\\n".join(row for row in rows if float(row) >= float(sys.argv[1])))
"""
CHECK = """
import sys
from pathlib import Path

allowed = (Path(__file__).parent / "limits.txt").read_text()
assert Path(sys.argv[1]).stat().st_size < int(allowed)
"""
TRAIN = """
import sys
from pathlib import Path

rows = Path(sys.argv[1]).read_text().split()
Path("model.txt").write_text(f"{len(rows)} rows")
"""
PROJECT = """
name: {name}
entry_points:
  main:
    parameters: {{{parameters}}}
    command: "python {script} {words}"
    {keys}
"""


def mlproject(name: str, parameters: str, words: str, keys: str, script: str = "run.py") -> str:
    return PROJECT.format(name=name, parameters=parameters, words=words, keys=keys, script=script)


FILES = {
    "MLproject": mlproject("housing", "steps: {type: string, default: all}", "{steps}", "phase: {}", "main.py"),
    "main.py": recording("main") + MAIN,
    "config.yaml": "cleaning: {min_price: 2}\ntraining: {depth: 3}\n",
    "data/raw.csv": "1\n2\n3\n",
    "src/basic_cleaning/MLproject": mlproject(
        "basic_cleaning",
        "min_price: {type: float}, output: {type: string}",
        "{min_price} {output}",
        "phase: {outputs: [clean.csv]}",
    ),
    "src/basic_cleaning/run.py": recording("basic_cleaning") + CLEANING,
    "src/check/MLproject": mlproject("check", "input: {type: string}", "{input}", ""),
    "src/check/run.py": recording("check") + CHECK,
    "src/check/limits.txt": "1000",
    "src/train/MLproject": mlproject(
        "train", "input: {type: path}, depth: {type: int}", "{input} {depth}", "phase: {outputs: [model.txt]}"
    ),
    "src/train/run.py": recording("train") + TRAIN,
}


def steps(project: ProjectFolder) -> dict[str, str]:
    """The verdict of the newest run of each project."""
    verdicts: dict[str, str] = {}
    for run in project.runs():
        verdicts.setdefault(run.data.tags.get("phase.project", ""), run.data.tags.get("phase.verdict", ""))
    return verdicts


def model(project: ProjectFolder) -> str:
    return (project.folder / "src/train/model.txt").read_text()


def finished(project: ProjectFolder) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project.folder, check=True)
    project.write(FILES)
    assert project.run("main").exit_code == 0


@pytest.fixture
def housing(project: ProjectFolder) -> ProjectFolder:
    """The project after a first run."""
    return project.prepare("nested_runs", finished)


def test_the_first_run_computes_each_step_below_the_caller_and_the_second_is_reused_as_a_whole(
    project: ProjectFolder,
) -> None:
    project.write(FILES)
    done = project.command("mlflow", "run", ".", "-b", "phases", "--env-manager", "local")
    assert done.exit_code == 0, done.text
    assert "train came from a run" in done.text
    assert project.executed() == ["main", "basic_cleaning", "train"]
    assert model(project) == "2 rows"
    runs = {run.data.tags["phase.project"]: run for run in project.runs()}
    main = runs.pop("housing")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {main.info.run_id}
    assert {run.data.tags["phase.name"] for run in runs.values()} == {"main"}
    assert all("phase.completed_at" in run.data.tags for run in (main, *runs.values()))
    assert project.run("main").exit_code == 0
    assert project.executed() == []
    assert steps(project)["housing"] == "reuse"


def test_an_edited_step_runs_the_caller_and_what_lies_downstream_and_reuses_the_others(housing: ProjectFolder) -> None:
    housing.edit("src/train/run.py", " rows", " lines")
    done = housing.run("main")
    assert "the step src/train, which would run now: main" in done.text
    assert "differs in the code of run.py" in done.text
    assert housing.executed() == ["main", "train"]
    assert steps(housing) == {"housing": "run", "basic_cleaning": "reuse", "train": "run"}
    assert model(housing) == "2 lines"
    housing.edit("src/basic_cleaning/run.py", "float(row) >=", "float(row) >")
    housing.run("main")
    assert housing.executed() == ["main", "basic_cleaning", "train"]
    assert model(housing) == "1 lines"


def test_data_that_only_a_reused_step_had_read_runs_the_caller_again(housing: ProjectFolder) -> None:
    housing.edit("main.py", "train came", "the train came")
    # What a reused step has logged is in the run that computed it, and `mlflow.run` returns that one.
    assert "the train came from a run" in housing.run("main").text
    assert housing.executed() == ["main"]
    assert steps(housing) == {"housing": "run", "basic_cleaning": "reuse", "train": "reuse"}
    housing.write({"data/raw.csv": "1\n2\n3\n4\n"})
    plan = housing.cli("plan").text
    assert "main: run" in plan
    assert "the result of the step src/basic_cleaning, which would run now: main" in plan
    assert "data/raw.csv, which has changed since" in plan
    assert "step src/basic_cleaning: would run now" in plan
    assert "step src/train: run" in plan
    housing.run("main")
    assert housing.executed() == ["main", "basic_cleaning", "train"]
    assert model(housing) == "3 rows"


def test_what_only_a_step_read_is_no_read_of_its_caller(housing: ProjectFolder) -> None:
    lines = housing.cli("explain", "main").text.splitlines()
    files = [line.split()[1] for line in lines if line.split()[:1] in (["file"], ["folder"], ["module"])]
    assert files == ["config.yaml"]
    shown = {line.split()[1]: line for line in lines if line.startswith("step ")}
    assert list(shown) == ["src/basic_cleaning", "src/train"]
    assert "min_price=2 output=clean.csv ->" in shown["src/basic_cleaning"]
    assert "input=src/basic_cleaning/clean.csv" in shown["src/train"]
    assert "main calls src/basic_cleaning (" in housing.cli("status").text


def test_a_step_without_keys_runs_as_ever_and_its_files_count_for_the_caller(housing: ProjectFolder) -> None:
    assert housing.run("main", steps="check").exit_code == 0
    assert housing.executed() == ["main", "check"]
    assert housing.run("main", steps="check").exit_code == 0
    assert housing.executed() == []
    housing.write({"src/check/limits.txt": "2000"})
    assert "src/check/limits.txt, which has changed since" in housing.cli("plan", "-P", "steps=check").text


def test_a_step_that_asks_ends_the_caller_with_exit_code_3_and_an_answer_counts(housing: ProjectFolder) -> None:
    housing.edit("src/train/MLproject", "phase: {", "phase: {ask_above: 0, ")
    housing.edit("src/train/run.py", " rows", " lines")
    done = housing.run("main")
    assert done.exit_code == 3
    assert "A) Keep main" in done.text
    assert "-P decide=reuse" in done.text
    assert "main: a step that it called needs an answer" in done.text
    assert "Traceback" not in done.text
    assert steps(housing) == {"housing": "run", "basic_cleaning": "reuse", "train": "ask"}
    housing.executed()
    assert housing.run("main", decide="reuse").exit_code == 0
    assert housing.executed() == ["main"]
    assert steps(housing)["train"] == "reuse"
    assert housing.run("main").exit_code == 0
    assert housing.executed() == []


def test_a_step_may_wait_for_an_answer_from_elsewhere(housing: ProjectFolder) -> None:
    housing.edit("src/train/MLproject", "phase: {", "phase: {ask_above: 0, ")
    housing.edit("src/train/run.py", " rows", " lines")
    process = housing.start("mlflow", "run", ".", "-b", "phases", "-P", "decide=wait")

    def waiting() -> list[str]:
        return [run.info.run_id for run in housing.runs() if run.data.tags.get("phase.verdict") == "ask"]

    wait_until(lambda: bool(waiting()), "the step asks")
    assert housing.cli("answer", waiting()[0], "B").exit_code == 0
    told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, told
    assert housing.executed() == ["main", "train"]
    assert model(housing) == "2 lines"


def test_a_script_that_holds_its_phase_reaches_the_same_verdicts_with_mlflows_own_backend(
    housing: ProjectFolder,
) -> None:
    # In the block of `start_phase` a run is active already.
    body = MAIN.replace('    print("train', '    with start_phase():\n        print("train')
    body = body.replace("with mlflow.start_run():", "if True:")
    housing.write({"main.py": recording("main") + "from mlflow_plugin import start_phase\n" + body})
    housing.edit("src/train/run.py", " rows", " lines")
    assert housing.run("main", LOCAL).exit_code == 0
    assert housing.executed() == ["main", "train"]
    assert model(housing) == "2 lines"
    newest = housing.runs()
    assert [run.data.tags["mlflow.parentRunId"] for run in newest[:2]] == [newest[2].info.run_id] * 2
    assert "step src/train: run" in housing.cli("plan").text


ONE_STEP = """
import sys

import mlflow

{before}
mlflow.run({call})
"""


def with_main(project: ProjectFolder, call: str, before: str = "") -> None:
    project.write({**FILES, "main.py": recording("main") + ONE_STEP.format(call=call, before=before)})


def test_a_call_that_names_a_backend_is_left_to_it_with_a_warning(project: ProjectFolder) -> None:
    with_main(project, "'src/check', backend='local', env_manager='local', parameters={'input': 'run.py'}")
    project.edit("src/check/MLproject", '"python run.py {input}"\n    ', '"python run.py {input}"\n    phase: {}')
    done = project.run("main")
    assert done.exit_code == 0
    assert "src/check, entry point main, is not decided on, since the call names backend='local'" in done.text
    assert project.executed() == ["main", "check"]
    assert "src/check/limits.txt" in project.cli("explain", "main").text


def test_a_phase_that_calls_itself_is_refused(project: ProjectFolder) -> None:
    with_main(project, "'.', parameters={'steps': sys.argv[1]}")
    done = project.run("main")
    assert done.exit_code == 1
    assert "calls itself with the same parameters" in done.text
    assert project.executed() == ["main"]


def test_a_call_that_is_wrong_ends_as_with_mlflow_itself(project: ProjectFolder) -> None:
    before = "\n".join(
        [
            "try:",
            "    mlflow.run('src/nowhere')",
            "except Exception as error:",
            "    print('caught', error)",
        ]
    )
    with_main(project, "'src/train', parameters={'input': 'x', 'depth': 'deep'}", before)
    done = project.run("main")
    assert done.exit_code == 1
    assert "caught" in done.text
    assert "'depth' must be an integer, got 'deep'" in done.text
    assert "Traceback" not in done.text
    assert project.executed() == ["main"]


def test_the_caller_may_name_the_run_the_experiment_and_the_environment_of_a_step(project: ProjectFolder) -> None:
    before = "\n".join(
        [
            "client = mlflow.MlflowClient()",
            "experiment = client.create_experiment('steps')",
            "run = client.create_run(experiment).info.run_id",
        ]
    )
    given = "parameters={'min_price': 1, 'output': 'clean.csv'}"
    call = f"'src/basic_cleaning', {given}, experiment_name='steps', run_id=run, env_manager='local'"
    with_main(project, call, before)
    done = project.run("main")
    assert done.exit_code == 0, done.text
    (run,) = project.runs(experiment_id=project.client.get_experiment_by_name("steps").experiment_id)
    assert run.data.tags["phase.verdict"] == "run"
    assert run.data.params["min_price"] == "1"
    assert project.run("main").exit_code == 0
    assert project.executed() == ["main", "basic_cleaning"]


def test_a_step_whose_environment_is_not_this_one_is_named(
    project: ProjectFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    with_main(project, "'src/basic_cleaning', parameters={'min_price': 1, 'output': 'clean.csv'}")
    project.write({"src/basic_cleaning/python_env.yaml": "dependencies: [no-such-package==1.0]\n"})
    project.edit("src/basic_cleaning/MLproject", "entry_points:", "python_env: python_env.yaml\nentry_points:")
    mlflow.projects.run(str(project.folder), backend="phases", env_manager="local")
    told = capfd.readouterr().err
    assert "basic_cleaning/python_env.yaml: the environment of the caller" in told
    assert "no-such-package" in told
    assert project.executed() == ["main", "basic_cleaning"]
