"""The script of `extract_failures`, on the tiny model. It knows nothing: its right answers are given to it."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from lora_project import LoraProject, lines
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.data.generator import generated_tasks
from lora_retraining.data.tasks import Task
from lora_retraining.validation.answering import Answer, Respondent
from mlflow.entities import Run

GIVEN = ("--preset", "tiny", "--max-new-tokens", "48")


class FailuresProject(LoraProject):
    """With tasks of the test's choosing."""

    def give_tasks(self, tasks: list[Task], tests: list[Task], model: Path) -> None:
        self.give("preflight", {"train_tasks.jsonl": lines(tasks), "test_tasks.jsonl": lines(tests)})
        self.give("merge", {"model": model})

    def extract(self, *arguments: str) -> Run:
        return self.run("extract_failures", *arguments)

    def rows(self, run: Run) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.outputs(run) / "combined_losses.jsonl").read_text().splitlines()]

    def summary(self, run: Run) -> dict[str, Any]:
        return json.loads((self.outputs(run) / "failures.json").read_text())


@pytest.fixture
def empty(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> FailuresProject:
    return FailuresProject(tmp_path / "project", monkeypatch)


@pytest.fixture
def project(empty: FailuresProject, tiny_folder: Path) -> FailuresProject:
    empty.give_tasks(generated_tasks("train", 12, seed=0), generated_tasks("test", 6, seed=0), tiny_folder)
    return empty


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, Task], bool]], None]:
    """Makes the model say the right answer to the tasks that are chosen by number."""

    def say_right(chosen: Callable[[int, Task], bool]) -> None:
        answers = Respondent.answers

        def improved(side: Respondent) -> dict[str, Answer]:
            right = {task.id: Answer(task.answer, False) for n, task in enumerate(side.tasks) if chosen(n, task)}
            return answers(side) | right

        monkeypatch.setattr(Respondent, "answers", improved)

    return say_right


def test_only_what_the_model_gets_wrong_is_handed_on_with_its_right_answer(
    project: FailuresProject, saying: Any, tiny_folder: Path
) -> None:
    saying(lambda number, _: number % 3 != 0)
    run = project.extract(*GIVEN)

    tasks = {task.id: task for task in generated_tasks("train", 12, seed=0)}
    wrong = [task for number, task in enumerate(tasks) if number % 3 == 0]
    rows, summary = project.rows(run), project.summary(run)
    assert [row["id"] for row in rows] == wrong
    for row in rows:
        assert row["messages"][1] == {"role": "assistant", "content": tasks[row["id"]].answer}
        assert row["provenance"]["model"] == weights_digest(tiny_folder)
        assert row["provenance"]["split"] == "train"
    assert (summary["attempted"], summary["right"], summary["failures"]) == (12, 8, 4)
    assert run.data.metrics["failures"] == 4
    assert run.data.metrics["failure_rate"] == pytest.approx(1 / 3)
    assert run.data.metrics["attempted"] == 12
    table = mlflow.load_table("items.json", run_ids=[run.info.run_id])
    assert sorted(table["outcome"]) == ["failed"] * 4 + ["right"] * 8
    assert run.data.tags["phase.input.merge"] in run.data.tags["mlflow.note.content"]


def test_a_model_that_fails_nothing_leaves_an_empty_file_and_says_so(
    project: FailuresProject, saying: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    saying(lambda *_: True)
    run = project.extract(*GIVEN)
    assert project.rows(run) == []
    assert run.data.metrics["failures"] == 0
    assert (
        "there is nothing to train on. Of 12 tasks the model solves 12 and really fails none" in capsys.readouterr().err
    )
    assert "nothing to train on" in run.data.tags["mlflow.note.content"]


def test_no_more_tasks_are_tried_than_asked_for_and_the_seed_says_which(project: FailuresProject) -> None:
    run = project.extract(*GIVEN, "--failure-tasks", "5", "--seed", "3")
    tried = list(mlflow.load_table("items.json", run_ids=[run.info.run_id])["id"])
    order = [task.id for task in generated_tasks("train", 12, seed=0)]
    assert len(tried) == 5
    assert tried == sorted(tried, key=order.index)
    assert tried != order[:5]


def test_a_task_that_stands_in_a_test_set_never_becomes_training_data(
    empty: FailuresProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = generated_tasks("train", 3, seed=0), generated_tasks("test", 4, seed=0)
    renamed = dataclasses.replace(test[0], id="innocent", split="train")
    empty.give_tasks([*train, renamed], test, tiny_folder)
    run = empty.extract(*GIVEN)
    assert [row["id"] for row in empty.rows(run)] == [task.id for task in train]
    assert empty.summary(run)["in_test_sets"] == ["innocent"]
    assert "1 tasks stand in a test set and are left out, such as innocent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        (generated_tasks("test", 1, seed=0), "1 of 1 tasks to take failures from are of a test split"),
        ([Task("o", "chat", "open", "train", "Hello?", "Hi.")], "no task of a train split that could be graded"),
    ],
    ids=["test split", "nothing to grade"],
)
def test_what_no_failures_can_be_taken_from_is_refused(
    empty: FailuresProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str], tasks: list[Task], told: str
) -> None:
    empty.give_tasks(tasks, generated_tasks("test", 2, seed=1), tiny_folder)
    with pytest.raises(SystemExit) as ended:
        empty.extract(*GIVEN)
    assert ended.value.code == 1
    assert told in capsys.readouterr().err
