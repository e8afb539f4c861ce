"""A phase with a matrix in an MLproject file of its own, which a phase of another file needs."""

from contextlib import nullcontext

import pytest
from click.testing import CliRunner

from mlflow_plugin import find_reusable, plan
from mlflow_plugin.backends import pipeline
from mlflow_plugin.backends.execution import ExecutionSettings
from mlflow_plugin.backends.phases import PhasesBackend
from mlflow_plugin.backends.pipeline import run_pipeline
from mlflow_plugin.cli import main
from mlflow_plugin.errors import UsageError
from mlflow_plugin.execution.steps import Caller, Step, current_step
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

MEAN = """\
name: seeds
entry_points:
  main:
    pipeline: [mean]
  mean:
    parameters: {train_run_ids: {type: string, default: latest}}
    command: "python mean.py {train_run_ids}"
    phase: {needs: [train#main]}
"""
TRAIN = """\
name: training
entry_points:
  main:
    parameters: {{seed: {{type: int, default: 0}}}}
    command: "python train.py {{seed}}"
    phase: {{matrix: {{seed: {seeds}}}, needs: [../prepare], outputs: ["models/{{seed}}.txt"]}}
"""
PREPARE = """\
name: preparing
entry_points:
  main: {command: "python prepare.py", phase: {}}
"""


class Files:
    """Three MLproject files, with a launcher that computes at once what each run is told to."""

    def __init__(self, demo) -> None:
        self.demo, self.computed = demo, []
        self.write("MLproject", MEAN)
        self.declare("[0, 1]")
        self.write("prepare/MLproject", PREPARE)
        for name in ("mean.py", "train/train.py", "prepare/prepare.py"):
            self.write(name, "print(1)\n")

    def write(self, name: str, text: str) -> None:
        path = self.demo.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def declare(self, seeds: str) -> None:
        self.write("train/MLproject", TRAIN.format(seeds=seeds))

    def launch(self, resolution, settings, heartbeat, observer) -> int:
        request = resolution.decision.request
        self.computed.append(request.label)
        if seed := request.phase.member.get("seed"):
            self.write(f"train/models/{seed}.txt", f"model of seed {seed}")
        request.client.log_text(resolution.run_id, f"result of {request.label}", "result.txt")
        return 0

    def run(self, jobs: int = 1) -> list[str]:
        """Run the pipeline and return what was computed."""
        self.computed.clear()
        project, invocation = load_project(self.demo.folder), Invocation(self.demo.folder, "main", {}, "phases")
        settings = ExecutionSettings({"jobs": jobs})
        run_pipeline(project, "main", {}, self.demo.client, "0", settings, self.launch, invocation)
        return list(self.computed)

    def command(self, *words: str) -> str:
        """Run an `mlflow-phases` command for the project that asks, and return what it says."""
        done = CliRunner().invoke(main, words, env={"MLFLOW_EXPERIMENT_ID": "0"})
        assert done.exit_code in (0, 2), done.output
        return done.output

    def latest_set(self) -> PhaseRun | None:
        history = self.history()
        return history.latest(history.project.phases["train"])

    def history(self) -> History:
        return History(self.demo.client, "0", load_project(self.demo.folder))


@pytest.fixture
def files(demo, monkeypatch: pytest.MonkeyPatch) -> Files:
    monkeypatch.chdir(demo.folder)
    monkeypatch.setattr(pipeline, "kept_reports", lambda *arguments: nullcontext())
    (demo.folder / "train/models").mkdir(parents=True)
    return Files(demo)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_phase_is_made_from_the_set_of_runs_of_another_file(files: Files, jobs: int) -> None:
    computed = files.run(jobs)
    assert (computed[0], sorted(computed[1:3]), computed[3:]) == (
        "prepare",
        ["train seed=0", "train seed=1"],
        ["mean"],
    )
    history = files.history()
    of_set = history.latest(history.project.phases["train"])
    assert of_set is not None
    assert (of_set.project, of_set.own_phase) == ("training", "main")
    assert [run.parameters["seed"] for run in of_set.each] == ["0", "1"]
    mean = history.latest(history.project.phases["mean"])
    assert mean is not None
    assert mean.inputs == {"train": of_set.run_id}
    assert mean.parameters["train_run_ids"] == ",".join(of_set.members)
    assert files.run(jobs) == []


def test_a_value_more_computes_that_run_and_the_phase_of_the_other_file(files: Files) -> None:
    files.run()
    files.declare("[0, 1, 2]")
    planned = plan(files.demo.folder, "main", client=files.demo.client, experiment_id="0")
    assert {one.phase: one.action for one in planned.verdicts} == {"prepare": "reuse", "train": "run", "mean": "run"}
    assert {name: one.action for name, one in planned.verdicts[1].members.items()} == {
        "seed=0": "reuse",
        "seed=1": "reuse",
        "seed=2": "run",
    }
    assert files.run() == ["train seed=2", "mean"]


def test_lookups_and_the_page_take_it_as_a_set(files: Files) -> None:
    files.run()
    folder, where = files.demo.folder, {"client": files.demo.client, "experiment_id": "0"}
    history = files.history()
    of_set = history.latest(history.project.phases["train"])
    assert of_set is not None
    assert find_reusable(folder, "train", **where).run_id == of_set.run_id
    assert find_reusable(folder, "train", {"seed": 1}, **where).run_id == of_set.members[1]
    cards = {one.phase: one.matrix for one in pipeline_view(files.history()).phases}
    assert cards["train"] is not None
    assert ([one.run_id for one in cards["train"].runs], cards["mean"]) == (list(of_set.members), None)


def test_files_of_the_runs_are_put_back_into_the_folder_of_their_file(files: Files) -> None:
    files.run()
    (files.demo.folder / "train/models/0.txt").write_text("model of seed 1")
    files.write("mean.py", "print(2)\n")
    files.run()
    assert (files.demo.folder / "train/models/0.txt").read_text() == "model of seed 0"
    assert not (files.demo.folder / "models").exists()


def test_an_artifact_of_several_runs_is_refused_for_a_phase_of_another_file_too(files: Files) -> None:
    files.write(
        "MLproject", MEAN.replace("needs: [train#main]", "needs: [train#main], inputs: {train_run_ids: train/m}")
    )
    with pytest.raises(UsageError, match="whose matrix makes several runs"):
        load_project(files.demo.folder)


def test_a_step_with_a_matrix_makes_its_own_runs(files: Files) -> None:
    token = current_step.set(Step(Caller(("a" * 32,)), "b" * 32))
    try:
        with pytest.raises(UsageError, match=r"train has a matrix.*Leave out the run_id"):
            PhasesBackend().run(str(files.demo.folder / "train"), "main", {}, None, {}, "", "0")
    finally:
        current_step.reset(token)


@pytest.fixture
def two_sets(files: Files) -> tuple[Files, PhaseRun, PhaseRun]:
    """The runs of two seeds, and then of three."""
    files.run()
    first = files.latest_set()
    files.declare("[0, 1, 2]")
    files.run()
    second = files.latest_set()
    assert first
    assert second
    return files, first, second


def test_rollback_goes_back_to_the_set_before_and_names_what_was_made_from_the_later_one(two_sets) -> None:
    files, first, second = two_sets
    mean = files.demo.latest("mean")
    folder = str(files.demo.folder)
    said = files.command("rollback", "train", "--to", first.members[0], "--reason", "bad", "--project", folder)
    assert "is the newest already" in said
    said = files.command("rollback", "train", "--to", first.run_id, "--reason", "bad", "--project", folder)
    assert said.count("is quarantined: bad") == 2
    assert f"mean {mean[:8]}" in said
    assert f"the last good set of runs of train is {first.short}" in said
    assert f"-P train_run_id={first.run_id}" in said
    assert files.latest_set().run_id == first.run_id
    files.declare("[0, 1]")
    assert files.run() == []
    with pytest.raises(UsageError, match="is quarantined: bad"):
        files.demo.decide("mean", train_run_id=second.run_id)
    assert files.demo.decide("mean", train_run_id=first.run_id).verdict.action == "reuse"


def test_a_quarantined_run_of_another_file_is_computed_again_with_what_was_made_from_it(two_sets) -> None:
    files, _, second = two_sets
    said = files.command("quarantine", second.run_id, "--reason", "bad")
    assert f"Quarantine the one that is bad: {second.members[0]}" in said
    said = files.command("quarantine", second.members[0], "--reason", "bad")
    assert f"train {second.short}" in said
    assert "there is no good set of runs of train before it" in said
    assert "`mlflow run" in files.command("status", "--project", str(files.demo.folder))
    assert files.run() == ["train seed=0", "mean"]


def test_sets_are_compared_by_all_that_their_runs_cost_and_a_set_with_one_run_is_refused(two_sets) -> None:
    files, first, second = two_sets
    said = files.command("compare", first.run_id, second.run_id)
    assert "seed 0,1 -> 0,1,2" in said
    assert "as fast" not in said  # Two runs of the second set are those of the first, and cost it nothing itself.
    assert "code and environment are those of seed=0" in said
    assert "the code is the same" in said
    said = files.command("compare", first.run_id, second.members[2])
    assert f"is a set of 2 runs of train and {second.members[2][:8]} is one run" in said
    assert f"seed=1 {first.members[1]}" in said
    assert "seed 0 -> 2" in files.command("compare", first.members[0], second.members[2])


def test_a_phase_that_is_run_in_its_own_folder_names_what_becomes_stale_in_files_that_need_it(files: Files) -> None:
    files.run()
    mean, of_set = files.demo.latest("mean"), files.latest_set()
    files.write("prepare/prepare.py", "print(2)\n")
    verdict = find_reusable(files.demo.folder / "prepare", "main", client=files.demo.client, experiment_id="0")
    assert {(one.phase, one.run_id) for one in verdict.invalidates[1:]} == {
        ("mean", mean),
        *(("train", run_id) for run_id in of_set.members),
    }
    assert "stale" in verdict.reasons[-1]
    files.write("train/train.py", "print(2)\n")
    alone = find_reusable(files.demo.folder / "train", "main", {"seed": 1}, client=files.demo.client, experiment_id="0")
    assert mean in {one.run_id for one in alone.invalidates}
