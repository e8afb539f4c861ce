"""The script of `train` and `train_1b`, on the tiny model."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lora_project import REAL, LoraProject, lines
from lora_retraining.base_model.digest import weights_digest
from mlflow.entities import Run
from safetensors.torch import load_file


def history(project: LoraProject, run: Run, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in project.client.get_metric_history(run.info.run_id, name))


def test_an_adapter_is_trained_with_falling_loss_and_names_its_base(project: LoraProject, tiny_folder: Path):
    project.give_preflight("tiny")

    run = project.train("--epochs", "4", "--rank", "8")

    outputs = project.outputs(run)
    trained = json.loads((outputs / "training.json").read_text())
    base = json.loads((outputs / "adapter/base.json").read_text())
    assert trained["loss_after"] < 0.9 * trained["loss_before"]
    assert run.data.metrics["loss_ratio"] == pytest.approx(trained["loss_after"] / trained["loss_before"])
    assert base == {"source": "tiny", "revision": "", "weights_digest": weights_digest(tiny_folder), "dtype": "float32"}
    configuration = json.loads((outputs / "adapter/adapter_config.json").read_text())
    assert (configuration["base_model_name_or_path"], configuration["r"]) == ("tiny", 8)
    tensors = load_file(outputs / "adapter/adapter_model.safetensors")
    assert any(tensor.abs().max() > 0 for name, tensor in tensors.items() if "lora_B" in name)


def test_the_description_and_the_outputs_say_what_was_trained_and_no_times(project: LoraProject):
    project.give_preflight("tiny")

    run = project.train()

    trained = json.loads((project.outputs(run) / "training.json").read_text())
    assert trained["steps"] == len(history(project, run, "loss"))
    assert f"in {trained['steps']} steps" in run.data.tags["mlflow.note.content"]
    for name in ("tokens_per_second", "seconds_per_step", "memory_peak_gib", "minutes_left"):
        assert run.data.metrics[f"system/{name}"] >= 0, name
        assert not any(name in key for key in trained)


def test_the_time_is_compared_with_what_preflight_expected(project: LoraProject, capsys: pytest.CaptureFixture[str]):
    project.give_preflight("tiny")
    (checked,) = project.client.search_runs(["0"])
    assert "training_seconds_over_estimate" not in project.train().data.metrics

    project.client.log_metric(checked.info.run_id, "estimated_training_seconds", 3600.0)
    run = project.train("--seed", "1")

    assert 0 < run.data.metrics["training_seconds_over_estimate"] < 1
    assert "preflight expected 1 h" in capsys.readouterr().err


def test_a_training_that_broke_off_ends_as_if_it_had_not(project: LoraProject, monkeypatch: pytest.MonkeyPatch):
    from lora_retraining.training.monitors import Monitor

    project.give_preflight("tiny")
    on_step_end = Monitor.on_step_end

    def breaks_off(self: Monitor, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 5:
            raise RuntimeError("the machine is gone")
        on_step_end(self, args, state, control, **kwargs)

    given = ("--epochs", "2", "--dropout", "0.1", "--batch-size", "8", "--packing", "grouped")
    with monkeypatch.context() as here:
        here.setattr(Monitor, "on_step_end", breaks_off)
        with pytest.raises(RuntimeError):
            project.train(*given)
    resumed = project.train(*given)
    whole = project.train(*given, "--seed", "0")  # The same training, another identity.

    assert resumed.data.tags["phase.verdict"] == "resume"
    assert whole.data.tags["phase.verdict"] != "reuse"
    assert resumed.data.tags["phase.output_digest"] == whole.data.tags["phase.output_digest"]


def test_gradient_checkpointing_changes_no_gradient(project: LoraProject):
    project.give_preflight("tiny")
    given = ("--epochs", "2", "--dropout", "0.1", "--dtype", "float32")

    kept = project.train(*given, "--gradient-checkpointing", "false")
    computed_again = project.train(*given, "--gradient-checkpointing", "true")

    norms = [dict(history(project, run, "grad_norm")) for run in (kept, computed_again)]
    assert len(norms[0]) > 1
    assert norms[1] == pytest.approx(norms[0], rel=1e-4)


def test_a_base_that_preflight_has_not_seen_is_refused(
    project: LoraProject, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    another = tmp_path / "another"
    shutil.copytree(tiny_folder, another)
    configuration = json.loads((another / "config.json").read_text())
    (another / "config.json").write_text(json.dumps(configuration | {"rope_theta": 1.0}))
    project.give_preflight("tiny")

    with pytest.raises(SystemExit) as ended:
        project.train("--model", str(another))

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "not the base model that preflight has checked" in told
    assert "config_digest" in told


def test_a_base_that_was_moved_since_preflight_is_the_same_base(
    project: LoraProject, tiny_folder: Path, tmp_path: Path
):
    project.give_preflight("tiny")

    run = project.train("--model", str(shutil.copytree(tiny_folder, tmp_path / "moved")), "--epochs", "0.5")

    assert run.info.status == "FINISHED"


def test_failures_are_trained_on_the_merged_model_with_their_own_figures(
    project: LoraProject, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    project.give_preflight("tiny")
    project.give("merge", {"model": tiny_folder})
    rows = [
        {"id": str(number), "messages": [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]}
        for number in range(3)
    ]
    project.give("extract_failures", {"combined_losses.jsonl": lines(rows)})

    run = project.train(
        "--data-phase", "extract_failures", "--base-phase", "merge", "--failure-epochs", "5", phase="train_1b"
    )

    trained = json.loads((project.outputs(run) / "training.json").read_text())
    base = json.loads((project.outputs(run) / "adapter/base.json").read_text())
    assert (trained["rows"], trained["steps"]) == (3, 5)
    assert base["source"] == "tiny merged by phase merge"
    assert base["weights_digest"] == weights_digest(tiny_folder)


def test_no_failures_at_all_are_an_error_that_says_so(
    project: LoraProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
):
    project.give_preflight("tiny")
    project.give("merge", {"model": tiny_folder})
    project.give("extract_failures", {"combined_losses.jsonl": ""})

    with pytest.raises(SystemExit):
        project.train("--data-phase", "extract_failures", "--base-phase", "merge", phase="train_1b")

    assert "combined_losses.jsonl has no rows: there is nothing to learn from" in capsys.readouterr().err


def test_a_value_that_cannot_be_ends_the_phase_with_what_may_stand_there(
    project: LoraProject, capsys: pytest.CaptureFixture[str]
):
    project.give_preflight("tiny")

    with pytest.raises(SystemExit) as ended:
        project.train("--rank", "none")

    assert ended.value.code == 2
    assert "rank = 'none' is not possible" in capsys.readouterr().err


def test_the_verdict_comes_before_torch_is_loaded():
    source = (
        "import sys, lora_retraining.phases.train; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", source], cwd=REAL, check=False).returncode == 0


def test_help_says_what_several_gpus_do():
    shown = subprocess.run(
        [sys.executable, "-m", "lora_retraining.phases.train", "--help"],
        cwd=REAL,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert "On several GPUs one process trains on each" in " ".join(shown.split())
