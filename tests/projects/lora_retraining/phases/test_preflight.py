"""The phase `preflight` as a whole: its checklist, its outputs, its refusals and what overrides them."""

import json
import shutil
from pathlib import Path

import pytest
from lora_project import LoraProject
from lora_retraining.checks.checklist import CHECKS, Check, as_data, as_markdown, as_text, override, refuse_failed
from lora_retraining.data.tasks import read_tasks
from mlflow.entities import Run
from safetensors.torch import load_file, save_file

from mlflow_plugin.errors import PhaseError, UsageError

PASSED = Check("device", "pass", "CPU")
FAILED = Check("scripts", "fail", "train.py:3 imports unsloth", "Take that out.")


class Preflight(LoraProject):
    """With a script that imports a module, which a test may write."""

    def preflight(self, *arguments: str) -> Run:
        (self.folder / "preflight.py").write_text("import this_is_followed\n")
        return self.run("preflight", "--preset", "tiny", *arguments)

    def last(self) -> Run:
        return self.client.search_runs(["0"], max_results=1)[0]


@pytest.fixture
def preflight(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> Preflight:
    return Preflight(tmp_path / "project", monkeypatch)


@pytest.fixture
def quantised(tmp_path: Path, tiny_folder: Path) -> Path:
    """Return the tiny model, quantised to 4 bits and scaled back to float32, under an innocent name."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "base-model"))
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if weight.dim() == 2 and "embed" not in name:
            blocks = weight.view(-1, 32)
            scale = blocks.abs().amax(1, keepdim=True) / 7
            weights[name] = ((blocks / scale).round() * scale).view_as(weight)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_good_training_passes_every_check_and_hands_on_its_rows(
    preflight: Preflight, capsys: pytest.CaptureFixture[str]
) -> None:
    run = preflight.preflight()
    checklist = json.loads(preflight.artifact(run, "preflight/checklist.json").read_text())
    assert [check["name"] for check in checklist["checks"]] == list(CHECKS)
    assert checklist["counts"]["pass"] == len(CHECKS)
    assert "| pass | base model is in full precision |" in preflight.artifact(run, "preflight/checklist.md").read_text()
    assert capsys.readouterr().out.count("PASS") == len(CHECKS)
    assert run.data.metrics["preflight_failed"] == 0

    outputs = preflight.artifact(run, "outputs")
    rows = [json.loads(line) for line in (outputs / "train.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [task.id for task in read_tasks(outputs / "train_tasks.jsonl")]
    assert {task.split for task in read_tasks(outputs / "test_tasks.jsonl")} == {"test"}
    base = json.loads((outputs / "base.json").read_text())
    assert (base["source"], base["revision"]) == ("tiny", "")


def test_the_outputs_are_the_same_bytes_a_second_time(preflight: Preflight) -> None:
    names = ("train.jsonl", "train_tasks.jsonl", "test_tasks.jsonl", "base.json")
    runs = [preflight.preflight("--rank", rank) for rank in ("4", "5")]
    contents = [[preflight.artifact(run, f"outputs/{name}").read_bytes() for name in names] for run in runs]
    assert contents[0] == contents[1]


def test_a_failed_check_ends_the_phase_and_all_failures_are_named_and_kept(
    preflight: Preflight, quantised: Path
) -> None:
    (preflight.folder / "this_is_followed.py").write_text("load(load_in_4bit=True)\n")
    with pytest.raises((PhaseError, SystemExit)) as ended:
        preflight.preflight("--model", str(quantised))
    run = preflight.last()
    checklist = json.loads(preflight.artifact(run, "preflight/checklist.json").read_text())
    failed = [check["name"] for check in checklist["checks"] if check["status"] == "fail"]
    assert failed == ["base_precision", "scripts"]
    assert run.info.status == "FAILED"
    assert "override=base_precision,scripts" in str(ended.value) + str(run.data.tags)


def test_an_overridden_refusal_lets_it_continue_and_is_logged_loudly(
    preflight: Preflight, quantised: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = preflight.preflight("--model", str(quantised), "--override", "base_precision,base_digest")
    assert (run.info.status, run.data.metrics["preflight_overridden"]) == ("FINISHED", 1)
    assert preflight.artifact(run, "outputs/train.jsonl").is_file()
    captured = capsys.readouterr()
    assert "OVERRIDDEN" in captured.out
    assert "everything that follows stands on it: base model is in full precision" in captured.err


@pytest.mark.parametrize("model", ["no/such/folder", "nobody/nothing"])
def test_a_model_that_is_not_there_is_a_failed_check_and_no_traceback(preflight: Preflight, model: str) -> None:
    with pytest.raises((PhaseError, SystemExit)):
        preflight.preflight("--model", model)
    checklist = json.loads(preflight.artifact(preflight.last(), "preflight/checklist.json").read_text())
    statuses = {check["name"]: check["status"] for check in checklist["checks"]}
    assert (statuses["base_precision"], statuses["memory"], statuses["overlap"]) == ("fail", "skip", "pass")


def test_a_folder_with_only_an_adapter_is_judged_by_the_adapters_base(preflight: Preflight, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    config = json.dumps({"base_model_name_or_path": "unsloth/meta-llama-3.1-8b-instruct-unsloth-bnb-4bit"})
    (tmp_path / "checkpoint" / "adapter_config.json").write_text(config)
    with pytest.raises((PhaseError, SystemExit)):
        preflight.preflight("--model", str(tmp_path / "checkpoint"))
    checklist = json.loads(preflight.artifact(preflight.last(), "preflight/checklist.json").read_text())
    details = {check["name"]: check["detail"] for check in checklist["checks"] if check["status"] == "fail"}
    assert "unsloth-bnb-4bit" in details["adapter"]
    assert "unsloth-bnb-4bit" in details["base_precision"]


def test_refusals_are_listed_together_with_how_to_continue_anyway() -> None:
    refuse_failed([PASSED])
    with pytest.raises(PhaseError, match=r"(?s)1 of 2 checks failed.*imports unsloth.*Take that out.*override=scripts"):
        refuse_failed([PASSED, FAILED])


def test_only_named_failures_are_overridden_and_unknown_names_refused() -> None:
    assert [check.status for check in override([PASSED, FAILED], ["scripts", "device"])] == ["pass", "overridden"]
    assert override([FAILED], ["disk"]) == [FAILED]
    with pytest.raises(UsageError, match=r"override names no check: scipts\. There are base_precision"):
        override([FAILED], ["scipts"])


def test_the_checklist_says_what_to_do_and_survives_signs_of_markdown() -> None:
    checks = [PASSED, Check("data", "fail", "a | b\nc", "Fix it.")]
    assert "-> Fix it." in as_text(checks)
    assert "| fail | training and test data | a \\| b c | Fix it. |" in as_markdown(checks)
    assert as_data(checks)["counts"] == {"pass": 1, "warn": 0, "fail": 1, "skip": 0, "overridden": 0}


def test_a_value_that_cannot_be_ends_the_phase_with_what_may_stand_there(
    preflight: Preflight, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        preflight.preflight("--rank", "none")

    assert ended.value.code == 2
    assert "rank = 'none' is not possible" in capsys.readouterr().err
