"""A phase with a matrix as a step of a script, and as a need in another file: both take the set of its runs."""

import pytest

from mlflow_plugin.store.run_decoding import phase_run
from tests.end_to_end.project_folder import ProjectFolder, recording

pytestmark = pytest.mark.end_to_end

FILES = {
    "MLproject": """
name: seeds
entry_points:
  main: {command: "python main.py", phase: {}}
""",
    "main.py": recording("main")
    + """
import mlflow

trained = mlflow.run("train", parameters={"rate": 0.1})
mlflow.MlflowClient().log_text(os.environ["MLFLOW_RUN_ID"], trained.run_id, "set.txt")
""",
    "train/MLproject": """
name: training
entry_points:
  main:
    parameters: {seed: {type: int, default: 0}, rate: {type: float}}
    command: "python train.py {seed} {rate}"
    phase: {matrix: {seed: [0, 1]}, outputs: ["model_{seed}.txt"]}
""",
    "train/train.py": recording("train")
    + """
import sys
from pathlib import Path

Path(f"model_{sys.argv[1]}.txt").write_text(f"seed {sys.argv[1]} at {sys.argv[2]}, {len('short')}")
""",
}


def test_the_caller_depends_on_the_set_of_runs_of_its_step(project: ProjectFolder) -> None:
    project.write(FILES)
    done = project.run("main")
    assert done.exit_code == 0, done.text
    assert project.executed() == ["main", "train", "train"]
    assert "train: 2 runs: 2 computed, 0 reused" in done.text
    main = next(run for run in project.runs() if run.data.tags.get("phase.project") == "seeds")
    of_set = phase_run(project.client.get_run(project.output_file(main, "set.txt").read_text()))
    assert (of_set.parent_run_id, len(of_set.members)) == (main.info.run_id, 2)
    assert phase_run(main).steps == {"train": [of_set.run_id]}

    assert project.run("main").exit_code == 0
    assert project.executed() == []

    project.edit("train/MLproject", "[0, 1]", "[0, 1, 2]")
    done = project.run("main")
    assert done.exit_code == 0, done.text
    assert "the step train, which would run now: 3 runs: reuse 2, run 1" in done.text
    assert project.executed() == ["main", "train"]
    assert project.run("main").exit_code == 0
    assert project.executed() == []


def test_a_set_with_the_same_outputs_leaves_the_caller_as_it_is(project: ProjectFolder) -> None:
    project.write(FILES)
    assert project.run("main").exit_code == 0
    assert project.executed() == ["main", "train", "train"]
    project.edit("train/train.py", "len('short')", "len('words')")
    again = project.command("mlflow", "run", "train", "-b", "phases", "--env-manager", "local", "-P", "rate=0.1")
    assert again.exit_code == 0, again.text
    assert project.executed() == ["train", "train"]
    assert project.run("main").exit_code == 0
    assert project.executed() == []


def test_a_phase_takes_the_runs_of_another_file_as_a_list(project: ProjectFolder) -> None:
    mean = """
name: seeds
entry_points:
  main:
    parameters: {train_run_ids: {type: string, default: latest}}
    command: "python mean.py {train_run_ids}"
    phase: {needs: [train#main]}
  all: {pipeline: [main], parameters: {rate: {type: float, default: 0.1}}}
"""
    script = """
import sys
from mlflow_plugin import start_phase

with start_phase() as phase:
    assert os.environ["PHASE_INPUT_TRAIN"] == sys.argv[1]
    seeds = [values["seed"] for values in phase.input_values("train")]
    models = [open(f"train/model_{seed}.txt").read() for seed in seeds]
    assert len(phase.inputs("train")) == 2
    phase.output("mean.txt", lambda path: path.write_text("; ".join(models)))
"""
    project.write({**FILES, "MLproject": mean, "mean.py": recording("mean") + script})
    done = project.run("all")
    assert done.exit_code == 0, done.text
    assert project.executed() == ["train", "train", "mean"]
    assert project.output_file(project.newest("main"), "mean.txt").read_text() == "seed 0 at 0.1, 5; seed 1 at 0.1, 5"
    assert "train" in project.cli("status").text
    explained = project.cli("explain", "train", "-P", "rate=0.1")
    assert "`mlflow-phases explain train -P seed=0`" in explained.text
    explained = project.cli("explain", "train", "-P", "rate=0.1", "-P", "seed=1")
    assert explained.exit_code == 0, explained.text
    (project.folder / "train/model_1.txt").unlink()
    assert project.run("all").exit_code == 0
    assert (project.executed(), (project.folder / "train/model_1.txt").exists()) == ([], True)
