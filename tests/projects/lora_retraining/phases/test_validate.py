"""The script of `validate` and `validate_1b`, on the tiny model."""

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest
from judging import judging
from lora_project import LoraProject, lines
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model
from lora_retraining.data.generator import generated_tasks, training_rows
from lora_retraining.data.tasks import Task
from lora_retraining.grading.judge import Judge
from lora_retraining.validation.generation import GenerationState
from mlflow.entities import Run
from projects_common.models.loading import load_model

STRICT = ("--preset", "smollm2", "--model", "tiny", "--samples", "60", "--max-new-tokens", "4")
"""Gates that the tiny model, which knows nothing, fails."""


class ValidateProject(LoraProject):
    """With test tasks of the test's choosing."""

    def give_tasks(self, tasks: list[Task]) -> None:
        outputs = {
            "test_tasks.jsonl": lines(tasks),
            "train.jsonl": lines(training_rows(generated_tasks("train", 24, seed=0))),
            "base.json": json.dumps({"source": "tiny", "revision": ""}),
        }
        self.give("preflight", outputs)

    def validate(self, *arguments: str, phase: str = "validate") -> Run:
        return self.run(phase, *arguments, script="validate")

    def results(self, run: Run) -> dict[str, Any]:
        return json.loads((self.outputs(run) / "results.json").read_text())

    def items(self, run: Run) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.outputs(run) / "items.jsonl").read_text().splitlines()]


@pytest.fixture
def empty(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> ValidateProject:
    """Return the project before any phase."""
    return ValidateProject(tmp_path / "project", monkeypatch)


@pytest.fixture
def project(empty: ValidateProject, tiny_folder: Path) -> ValidateProject:
    """Return the project with tasks, and the tiny model as the merged one."""
    empty.give_tasks(generated_tasks("test", 60, seed=0))
    empty.give("merge", {"model": tiny_folder})
    return empty


def test_every_item_is_kept_and_the_verdict_is_logged_with_its_intervals(project: ValidateProject) -> None:
    run = project.validate("--preset", "tiny", "--samples", "12", "--max-new-tokens", "6")

    items, results = project.items(run), project.results(run)
    assert len(items) == results["datasets"]["all"]["tasks"] == 12
    assert [item["id"] for item in items] == sorted(item["id"] for item in items)
    metrics = run.data.metrics
    assert metrics["validation_verdict"] == 1
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
    assert (metrics["wins"], metrics["ties"], metrics["losses"]) == (0, 0, 0)
    assert metrics["both_wrong"] == 1, "two wrong answers are no tie"
    assert {item["outcome"] for item in items} == {"both_wrong"}
    assert {item["decided_by"] for item in items} == {"grades"}
    assert all(item["completion"] == item["reference_completion"] for item in items)
    table = mlflow.load_table("items.json", run_ids=[run.info.run_id])
    assert list(table["id"]) == [item["id"] for item in items]
    note = run.data.tags["mlflow.note.content"]
    assert "**Verdict: pass.**" in note
    assert "| all accuracy | at least 0.0% |" in note


def test_a_model_that_fails_is_quarantined_with_what_it_resembles(
    project: ValidateProject, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here the merge has left the base as it was: weights and answers are the base's."""
    run = project.validate(*STRICT)

    results = project.results(run)
    assert results["verdict"] == "fail"
    assert run.data.metrics["validation_verdict"] == 0
    found = {one["name"]: one for one in results["resembles"]}
    assert found["wrong checkpoint"]["resembles"]
    assert "100% of the completions are the reference's" in found["wrong checkpoint"]["evidence"]
    assert set(found) == {"wrong template", "no end token", "wrong checkpoint", "quantised base"}
    merged = next(one for one in project.client.search_runs(["0"]) if one.data.tags.get("phase.name") == "merge")
    reason = merged.data.tags["phase.quarantined"]
    assert reason.startswith("validate failed: ")
    assert "wrong checkpoint" in reason
    assert "wrong checkpoint: yes" in run.data.tags["mlflow.note.content"].replace("**", "")

    with pytest.raises(SystemExit) as ended:
        project.validate(*STRICT)
    assert ended.value.code != 0, "and nothing is validated, let alone built, on it again"
    assert "validate needs merge, which has no run in this experiment that is complete, good enough and not" in (
        capsys.readouterr().err
    )


def test_a_killed_validation_resumes_and_ends_the_same(
    project: ValidateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--preset", "tiny", "--samples", "16", "--max-new-tokens", "12", "--batch-size", "4")
    given = (*given, "--checkpoint-every", "1")
    killed = project.run_until_killed("validate", 4, *given)
    advance, written = GenerationState.advance, []

    def counting(self: GenerationState, model: Any, pad: int) -> list[int]:
        before = self.tokens
        ended = advance(self, model, pad)
        written.append(self.tokens - before)
        return ended

    monkeypatch.setattr(GenerationState, "advance", counting)
    resumed = project.validate(*given)
    rounds_left = len(written)
    written.clear()
    whole = project.validate(*given, "--seed", "0")  # The same validation, another identity.

    assert resumed.data.tags["phase.resumed_from"] == killed
    assert 0 < rounds_left < len(written)
    assert project.items(resumed) == project.items(whole)
    assert project.results(resumed) == project.results(whole)
    assert resumed.data.tags["phase.output_digest"] == whole.data.tags["phase.output_digest"]


def test_the_second_validation_takes_the_reference_over_and_has_the_first_as_baseline(
    project: ValidateProject, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--preset", "tiny", "--samples", "8", "--max-new-tokens", "4")
    first = project.validate(*given)
    project.give("merge_1b", {"model": tiny_folder})
    loaded = []
    monkeypatch.setattr(
        "lora_retraining.validation.answering.load_model",
        lambda files, *kind: loaded.append(files) or load_model(files, *kind),
    )

    second = project.validate(*given, "--model-phase", "merge_1b", "--baseline-phase", "validate", phase="validate_1b")

    assert len(loaded) == 1, "the reference's answers are there already"
    results = project.results(second)
    assert results["baseline"] == "phase validate"
    assert results["weights_digest"] == weights_digest(tiny_folder)
    assert [item["reference_completion"] for item in project.items(second)] == [
        item["reference_completion"] for item in project.items(first)
    ]


@pytest.fixture
def opened(empty: ValidateProject, tiny_folder: Path, tmp_path: Path) -> tuple[str, ...]:
    """Give the project five tasks that only a judge can decide; return the arguments that name the reference."""
    tasks = [Task(f"open/{number}", "chat", "open", "test", f"Say {number} kindly.", "") for number in range(5)]
    empty.give_tasks(tasks)
    empty.give("merge", {"model": tiny_folder})
    theirs = tmp_path / "theirs.jsonl"
    theirs.write_text(lines([{"id": task.id, "completion": "theirs"} for task in tasks]))
    return ("--preset", "tiny", "--max-new-tokens", "4", "--reference", str(theirs), "--judge-model", "m")


def test_a_judge_that_fails_half_way_ends_the_phase_which_then_asks_only_for_what_is_missing(
    empty: ValidateProject, opened: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    working = [True] * 5  # Two tasks in both orders, and one order of the third.

    def answer(_: str) -> str | tuple[int, str]:
        return "A" if working and working.pop() else (418, "out of order")

    with judging(answer) as (url, asked):
        with pytest.raises(SystemExit) as ended:
            empty.validate(*opened, "--judge-url", url)
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert "answered 418: out of order. 2 verdicts are kept" in said
        assert "Traceback" not in said
        asked.clear()
        working[:] = [True] * 100
        run = empty.validate(*opened, "--judge-url", url)

    assert run.data.tags["phase.resumed_from"]
    assert len(asked) == 2 * 3
    assert [(item["outcome"], item["decided_by"]) for item in empty.items(run)] == [("tie", "judge")] * 5
    assert run.data.metrics["ties"] == 1


def test_verdicts_of_a_judge_are_saved_before_the_phase_dies(
    empty: ValidateProject, opened: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(judge: Judge, *_: str) -> str:
        if len(judge.verdicts) == 3:
            raise RuntimeError("as if killed")
        return "tie"

    with judging(lambda _: "A") as (url, asked):
        given = (*opened, "--judge-url", url, "--checkpoint-every", "1")
        with monkeypatch.context() as here:
            here.setattr(Judge, "_judge", die)
            with pytest.raises(RuntimeError):
                empty.validate(*given)
        empty.validate(*given)
    assert len(asked) == 2 * 2


def test_a_model_that_would_be_loaded_in_4_bit_is_refused(
    empty: ValidateProject, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantised = tmp_path / "quantised"
    shutil.copytree(tiny_folder, quantised)
    config = json.loads((quantised / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantised / "config.json").write_text(json.dumps(config))
    empty.give_tasks(generated_tasks("test", 10, seed=1))
    empty.give("merge", {"model": quantised})

    with pytest.raises(SystemExit) as ended:
        empty.validate("--preset", "tiny")

    assert ended.value.code == 1
    assert "would be loaded quantised: config.json has quantization_config: bitsandbytes" in capsys.readouterr().err


def test_models_are_loaded_in_full_precision(project: ValidateProject, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    given, load = [], AutoModelForCausalLM.from_pretrained

    def noted(*folder: Any, **options: Any) -> Any:
        given.append(options)
        return load(*folder, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noted)
    project.validate("--preset", "tiny", "--samples", "2", "--max-new-tokens", "2")
    assert len(given) == 2
    for options in given:
        assert str(options["dtype"]) in ("torch.float32", "torch.bfloat16")
        assert not [name for name in options if "4bit" in name or "8bit" in name or "quantization" in name]


def test_without_test_tasks_it_says_what_is_missing(empty: ValidateProject, capsys: pytest.CaptureFixture[str]) -> None:
    empty.give_tasks([])
    empty.give("merge", {"model": find_model("tiny").folder})
    with pytest.raises(SystemExit) as ended:
        empty.validate("--preset", "tiny")
    assert ended.value.code == 1
    assert "holds no task" in capsys.readouterr().err
