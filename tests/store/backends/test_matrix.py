"""The runs of a matrix, the set of them, and what depends on it; nothing is started in a process."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from click.testing import CliRunner

from mlflow_plugin import find_reusable, plan
from mlflow_plugin.backends import pipeline
from mlflow_plugin.backends.execution import ExecutionSettings, execute_phase
from mlflow_plugin.backends.pipeline import run_matrix, run_pipeline
from mlflow_plugin.cli import main
from mlflow_plugin.decision.question import Answer
from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
from mlflow_plugin.execution import resolution
from mlflow_plugin.execution.rollback import to_be_marked
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.members import member_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.reports.experiment_log import append_all
from mlflow_plugin.reports.status import pipeline_state
from mlflow_plugin.reports.views.pipeline import pipeline_view
from mlflow_plugin.store.run import PhaseRun

MLPROJECT = """\
name: demo
entry_points:
  main:
    command: "python -m mlflow_plugin.pipeline"
    pipeline: [mean]
  prepare:
    parameters: {{rows: {{type: int, default: 3}}}}
    command: "python prepare.py {{rows}}"
    phase: {{}}
  train:
    parameters: {{seed: {{type: int, default: 0}}, rate: {{type: float, default: 0.1}}}}
    command: "python train.py {{seed}} {{rate}}"
    phase: {{needs: [prepare], quality: {{metric: accuracy, good: 0.8, poor: 0.5}}, {matrix}}}
  mean:
    parameters: {{train_run_ids: {{type: string, default: latest}}}}
    command: "python mean.py {{train_run_ids}}"
    phase: {{needs: [train]}}
"""


class Matrix:
    """The project, with a launcher that computes at once what each run is told to."""

    def __init__(self, demo) -> None:
        self.demo = demo
        self.declare("matrix: {seed: [0, 1, 2]}")
        for name in ("prepare", "train", "mean"):
            (demo.folder / f"{name}.py").write_text("print(1)\n")
        self.computed: list[str] = []
        self.failing: dict[str, int] = {}
        self.accuracy: dict[str, float] = {}
        self.texts: dict[str, str] = {}
        self.together: threading.Barrier | None = None

    def declare(self, matrix: str) -> None:
        (self.demo.folder / "MLproject").write_text(MLPROJECT.format(matrix=matrix))

    def launch(self, resolution, settings, heartbeat, observer) -> int:
        request = resolution.decision.request
        name = request.phase.full_name
        self.computed.append(name)
        if self.together and request.phase.member:
            self.together.wait(60)
        if name in self.failing:
            return self.failing[name]
        client, run_id = request.client, resolution.run_id
        client.log_metric(run_id, "accuracy", self.accuracy.get(name, 0.9))
        client.log_text(run_id, self.texts.get(name, f"result of {name}"), "result.txt")
        return 0

    def run(self, jobs: int = 1, **given: object) -> list[str]:
        """Run the pipeline and return what was computed."""
        self.computed.clear()
        project, settings = load_project(self.demo.folder), ExecutionSettings({"jobs": jobs})
        invocation = Invocation(self.demo.folder, "main", given)
        run_pipeline(project, "main", given, self.demo.client, "0", settings, self.launch, invocation)
        return list(self.computed)

    def train(self, **given: object) -> str:
        """Run the whole matrix of `train`, and return the id of the run above its runs."""
        self.computed.clear()
        project = load_project(self.demo.folder)
        invocation = Invocation(self.demo.folder, "train", given, "phases")
        phase = member_of(project.phases["train"], given)
        request = Request(project, phase, given, self.demo.client, "0", asked_as=invocation)
        return run_matrix(request, ExecutionSettings(), self.launch, invocation)

    def by_hand(self, text: str, **given: object) -> None:
        """Run one run of the matrix by itself."""
        request = self.demo.request("train", **given)
        self.texts[request.phase.full_name] = text
        execute_phase(request, ExecutionSettings(), self.launch)

    def latest(self) -> PhaseRun:
        history = self.demo.history()
        found = history.latest(history.project.phases["train"])
        assert found is not None
        return found

    def of_seed(self, seed: int) -> PhaseRun:
        return next(run for run in self.latest().each if run.parameters["seed"] == str(seed))


@pytest.fixture
def matrix(demo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Matrix]:
    monkeypatch.chdir(demo.folder)
    monkeypatch.setattr(pipeline, "kept_reports", lambda *arguments: nullcontext())  # They take half of the time.
    return Matrix(demo)


def test_the_latest_of_a_matrix_is_its_set_in_the_order_of_the_matrix(matrix: Matrix) -> None:
    matrix.declare("matrix: {seed: [2, 0, 1]}")
    assert matrix.run() == ["prepare", "train seed=2", "train seed=0", "train seed=1", "mean"]
    of_set = matrix.latest()
    assert [run.parameters["seed"] for run in of_set.each] == ["2", "0", "1"]
    assert {run.parent_run_id for run in of_set.each} == {of_set.run_id}
    assert matrix.run() == []


def test_a_later_phase_depends_on_the_outputs_of_the_set_and_not_on_when_they_were_made(matrix: Matrix) -> None:
    matrix.run()
    before = matrix.latest()
    forced = {"seed": 1, "decide": "rerun"}
    matrix.by_hand("result of train seed=1", **forced)
    assert matrix.run() == []
    matrix.by_hand("another", **forced)
    state = {one.phase.name: one for one in pipeline_state(matrix.demo.history().project, matrix.demo.history())}
    assert state["train"].state == "invalidated"
    assert matrix.run() == ["mean"]
    assert matrix.latest().output_digest != before.output_digest


def test_a_quarantined_run_is_computed_again_alone_with_what_depends_on_it(matrix: Matrix) -> None:
    matrix.run()
    matrix.demo.records.quarantine(matrix.of_seed(1).run_id, "bad data")
    history = matrix.demo.history()
    assert history.latest(history.project.phases["train"]) is None
    assert matrix.run() == ["train seed=1", "mean"]


def test_a_value_more_is_computed_alone_and_a_value_less_computes_nothing_of_the_matrix(matrix: Matrix) -> None:
    matrix.run()
    first = matrix.latest()
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}")
    assert matrix.run() == ["train seed=3", "mean"]
    matrix.declare("matrix: {seed: [0, 1]}")
    assert matrix.run() == ["mean"]
    matrix.declare("matrix: {seed: [0, 1, 2]}")
    assert matrix.run() == []
    assert matrix.latest().run_id == first.run_id


def test_runs_from_before_the_matrix_was_declared_are_reused(matrix: Matrix) -> None:
    matrix.declare("")
    matrix.run(seed=1)
    matrix.declare("matrix: {seed: [0, 1]}")
    assert matrix.run() == ["train seed=0", "mean"]
    matrix.declare("")
    assert matrix.run(seed=1) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_enough_good_runs_make_a_set(matrix: Matrix, jobs: int) -> None:
    matrix.failing["train seed=1"] = 3
    with pytest.raises(PhaseError, match=r"train seed=1: its command ended with exit code 3"):
        matrix.run(jobs)
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}, at_least: 3")
    assert matrix.run(jobs)[-1] == "mean"
    assert [run.parameters["seed"] for run in matrix.latest().each] == ["0", "2", "3"]
    matrix.accuracy["train seed=4"] = 0.1
    matrix.declare("matrix: {seed: [1, 2, 3, 4]}, at_least: 3")
    with pytest.raises(PhaseError, match=r"(?s)seed=4: not good enough for the set: accuracy 0\.1 \(poor\)"):
        matrix.run(jobs)
    assert [run.parameters["seed"] for run in matrix.latest().each] == ["0", "2", "3"]


def test_runs_of_a_matrix_are_computed_side_by_side(matrix: Matrix) -> None:
    matrix.together = threading.Barrier(3)
    assert sorted(matrix.run(jobs=3)) == ["mean", "prepare", "train seed=0", "train seed=1", "train seed=2"]


def test_one_value_runs_that_one_alone_and_several_are_the_matrix_of_the_call(matrix: Matrix) -> None:
    matrix.run()
    whole = matrix.latest()
    project = load_project(matrix.demo.folder)
    assert member_of(project.phases["train"], {"seed": "3"}).full_name == "train seed=3"
    matrix.by_hand("3", seed=3)
    assert matrix.latest().run_id == whole.run_id
    matrix.train(seed="2,3")
    assert matrix.computed == []
    assert [run.parameters["seed"] for run in matrix.latest().each] == ["2", "3"]
    assert matrix.run(seed="[0, 5]") == ["train seed=5", "mean"]
    with pytest.raises(UsageError, match=r"seed=0,0: 'seed' has 0 twice"):
        matrix.run(seed="0,0")
    with pytest.raises(UsageError, match=r"'seed' must be an integer, got 'a'.*Nothing was started"):
        matrix.run(seed="0,a")


def test_a_matrix_of_ten_thousand_is_said_before_it_starts(matrix: Matrix) -> None:
    matrix.declare(f"matrix: {{seed: {list(range(10_000))}}}")
    with pytest.raises(UsageError, match=r"its matrix makes 10,000 runs, .*Write `at_most: 10000`"):
        matrix.run()
    with pytest.raises(UsageError, match="10,000 runs"):
        find_reusable(matrix.demo.folder, "train")
    assert matrix.demo.client.search_runs(["0"]) == []
    matrix.declare("matrix: {seed: [0, 1, 2]}, at_most: 2")
    with pytest.raises(UsageError, match="3 runs, and 2 are the most"):
        matrix.run()


def test_the_same_question_of_several_runs_is_asked_once(matrix: Matrix, ask_always: None) -> None:
    matrix.run()
    (matrix.demo.folder / "train.py").write_text("print(2)\n")
    with pytest.raises(NeedsAnswer) as asked:
        matrix.run()
    assert str(asked.value).count("a decision is needed") == 1
    assert "the same question is open for seed=1, seed=2: the answer counts for all of these" in str(asked.value)
    assert matrix.computed == []
    assert matrix.run(decide="rerun") == ["train seed=0", "train seed=1", "train seed=2"]


def test_runs_that_are_cheap_alone_are_asked_about_when_they_are_costly_together(matrix: Matrix) -> None:
    matrix.run()
    for seed in range(3):
        matrix.demo.compute("train", f"result of train seed={seed}", {"accuracy": 0.9}, seconds=150, seed=seed)
    (matrix.demo.folder / "train.py").write_text("print(2)\n")
    alone = find_reusable(matrix.demo.folder, "train", {"seed": 0})
    assert (alone.action, find_reusable(matrix.demo.folder, "train").action) == ("run", "ask")
    with pytest.raises(NeedsAnswer, match=r"together they supersede 4 good runs; computing these again takes 7 min"):
        matrix.run()
    assert matrix.computed == []


def test_the_answer_to_the_first_counts_for_the_others(
    matrix: Matrix, ask_always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix.run()
    (matrix.demo.folder / "train.py").write_text("print(2)\n")
    asked = []
    original = resolution.obtain_answer

    def answer(request, verdict, *rest):
        if request.decide != "ask":
            return original(request, verdict, *rest)
        asked.append(request.phase.full_name)
        return Answer(verdict.option("rerun"), "somebody")

    monkeypatch.setattr(resolution, "obtain_answer", answer)
    matrix.texts = {f"train seed={seed}": f"changed {seed}" for seed in range(3)}
    assert matrix.run(jobs=2)[-1] == "mean"
    assert asked == ["train seed=0"]


def test_cancelling_the_question_starts_none_of_them(
    matrix: Matrix, ask_always: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix.declare("matrix: {seed: [0, 1, 2]}, at_least: 1")
    matrix.run()
    (matrix.demo.folder / "train.py").write_text("print(2)\n")
    monkeypatch.setattr(resolution, "obtain_answer", lambda request, verdict, *rest: Answer(verdict.options[-1], "me"))
    with pytest.raises(PhaseError, match=r"(?s)0 of 3 runs are good.*train: cancelled by me"):
        matrix.run()
    assert matrix.computed == []


def test_plan_says_what_would_be_done_with_each_run(matrix: Matrix) -> None:
    matrix.run()
    verdict = find_reusable(matrix.demo.folder, "train")
    assert (verdict.action, verdict.run_id) == ("reuse", matrix.latest().run_id)
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}")
    prepare, train, mean = plan(matrix.demo.folder).verdicts
    assert (prepare.action, train.action, mean.action) == ("reuse", "run", "run")
    assert {name: one.action for name, one in train.members.items()} == {
        "seed=0": "reuse",
        "seed=1": "reuse",
        "seed=2": "reuse",
        "seed=3": "run",
    }
    assert train.reasons[0] == "4 runs: reuse 3, run 1"
    assert plan(matrix.demo.folder).to_dict()["phases"][1]["members"]["seed=3"]["action"] == "run"
    assert find_reusable(matrix.demo.folder, "train", {"seed": 1}).action == "reuse"


def test_a_set_of_other_runs_is_pinned_by_its_id_and_one_run_is_refused(matrix: Matrix) -> None:
    matrix.run()
    first = matrix.latest()
    matrix.train(seed="0,1")
    assert matrix.demo.decide("mean", train_run_id=first.run_id).verdict.action == "reuse"
    with pytest.raises(UsageError, match=r"that is one run of train, which has a matrix"):
        matrix.demo.decide("mean", train_run_id=first.members[0])
    with pytest.raises(UsageError, match=r"train_run_ids holds the runs of train, and cannot be given"):
        matrix.demo.decide("mean", train_run_ids="a,b")
    matrix.declare("")
    with pytest.raises(UsageError, match=r"that is a set of 3 runs of train, which has no matrix now"):
        matrix.demo.decide("mean", train_run_id=first.run_id)


def test_the_page_shows_one_card_with_a_count(matrix: Matrix) -> None:
    matrix.run()
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}")
    view = pipeline_view(matrix.demo.history())
    assert [phase.phase for phase in view.phases] == ["prepare", "train", "mean"]
    card = view.phases[1]
    assert card.matrix is not None
    assert (card.state, card.matrix.count, [run.values for run in card.matrix.runs]) == (
        "up to date",
        3,
        ["seed=0", "seed=1", "seed=2"],
    )
    assert card.remarks == [f"the set {matrix.latest().short} has 3 runs, without seed=3"]
    assert [one.matches for one in view.phases[2].inputs] == [True]
    assert view.phases[0].matrix is None


def test_runs_that_are_no_set_yet_are_not_called_up_to_date(matrix: Matrix) -> None:
    matrix.demo.compute("prepare")
    matrix.by_hand("0", seed=0)
    states = pipeline_state(matrix.demo.history().project, matrix.demo.history())
    assert states[1].state == "missing"
    assert "no set of them" in states[1].remarks[0]


def test_rollback_goes_back_to_the_set_before(matrix: Matrix) -> None:
    matrix.run()
    first = matrix.latest()
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}")
    matrix.run()
    history = matrix.demo.history()
    marked = to_be_marked(history, history.project.phases["train"], None)
    assert {run.run_id for run in marked} == {matrix.latest().run_id, matrix.of_seed(3).run_id}
    for run in marked:
        matrix.demo.records.quarantine(run.run_id, "worse")
    assert matrix.latest().run_id == first.run_id


def test_a_run_that_was_interrupted_is_resumed_alone(matrix: Matrix) -> None:
    matrix.run()
    matrix.declare("matrix: {seed: [0, 1, 2, 3]}")
    interrupted, _ = matrix.demo.start("train", seed=3)
    matrix.demo.records.checkpoint(interrupted, "step-000100")
    matrix.demo.lose_heartbeat(interrupted)
    assert matrix.run() == ["train seed=3", "mean"]
    assert matrix.of_seed(3).resumed_from == interrupted


def test_runs_of_two_parameters_leave_out_what_is_excluded(matrix: Matrix) -> None:
    matrix.declare("matrix: {seed: [0, 1], rate: [0.1, 0.2]}, exclude: [{seed: 0, rate: 1e-1}]")
    assert [name for name in matrix.run() if "train" in name] == [
        "train seed=0, rate=0.2",
        "train seed=1, rate=0.1",
        "train seed=1, rate=0.2",
    ]
    assert matrix.run() == []
    assert find_reusable(matrix.demo.folder, "train", {"seed": 1, "rate": "2e-1"}).action == "reuse"


def test_a_quarantine_is_for_one_run_and_not_for_a_set(matrix: Matrix) -> None:
    matrix.run()
    refused = CliRunner().invoke(main, ["quarantine", matrix.latest().run_id, "--reason", "bad"])
    assert isinstance(refused.exception, UsageError) or refused.exit_code == 2
    assert matrix.latest().members


def test_a_deleted_run_of_a_set_is_computed_again(matrix: Matrix) -> None:
    matrix.run()
    matrix.demo.client.delete_run(matrix.of_seed(2).run_id)
    assert matrix.run() == ["train seed=2"]


def test_a_set_has_an_entry_in_the_experiment_log_like_its_runs(matrix: Matrix) -> None:
    matrix.declare("matrix: {seed: [0, 1]}")
    matrix.demo.compute("prepare")
    log = matrix.demo.folder / "EXPERIMENT_LOG.md"
    log.touch()
    of_set, again = matrix.train(), matrix.train()
    text = log.read_text()
    assert [text.count(f"<!-- mlflow-phases run {run_id} -->") for run_id in (*matrix.latest().members, of_set)] == [
        1
    ] * 3
    assert f"train {again[:8]}: reused {of_set[:8]}" in text
    log.write_text("")
    assert {of_set, again} <= set(append_all(matrix.demo.history(), log))
