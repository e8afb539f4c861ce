"""The script of `train` in two real processes that share the batches of a step."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lora_project import PYTHONPATH, LoraProject
from lora_retraining.settings import read_settings
from lora_retraining.training import plan
from mlflow.entities import Run
from safetensors.torch import load_file

from mlflow_plugin.errors import UsageError

GIVEN = ("--epochs", "2", "--batch-size", "4", "--accumulation", "2", "--packing", "grouped", "--dtype", "float32")


def train_outside(project: LoraProject, *arguments: str) -> tuple[Run, str]:
    """Run the script in a process of its own, as its command starts it."""
    words = ["--preset", "tiny", *arguments]
    run_id = project.start("train", *words)
    ended = subprocess.run(
        [sys.executable, "-m", "lora_retraining.phases.train", *words],
        cwd=project.folder,
        env=os.environ | {"MLFLOW_RUN_ID": run_id, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return project.client.get_run(run_id), ended.stderr


@pytest.mark.end_to_end
@pytest.mark.slow
def test_two_processes_train_the_adapter_that_one_trains(project: LoraProject) -> None:
    project.give_preflight("tiny")

    two, said = train_outside(project, *GIVEN, "--device", "cpu", "--processes", "2")
    one = project.train(*GIVEN)

    trained = [json.loads((project.outputs(run) / "training.json").read_text()) for run in (one, two)]
    adapters = [load_file(project.outputs(run) / "adapter/adapter_model.safetensors") for run in (one, two)]
    assert [(each["processes"], each["accumulation"], each["steps"]) for each in trained] == [(1, 2, 6), (2, 1, 6)]
    assert said.count("continues in 2 processes") == said.count("train: run - ") == said.count("sequences a step") == 1
    assert adapters[0].keys() == adapters[1].keys()
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], tensor, rtol=1e-3, atol=1e-5)
    losses = [project.client.get_metric_history(run.info.run_id, "loss") for run in (one, two)]
    assert [metric.step for metric in losses[1]] == [metric.step for metric in losses[0]]
    assert [metric.value for metric in losses[1]] == pytest.approx([metric.value for metric in losses[0]], rel=1e-3)

    _, said = train_outside(project, *GIVEN, "--device", "cpu", "--processes", "2")
    assert "nothing to compute" in said
    assert "goes on in" not in said


def test_a_step_stays_as_large_however_many_share_it() -> None:
    given = read_settings({"preset": "llama-3.1-8b"})

    shares = {count: plan.divided(given, count) for count in (1, 2, 4, 8, 32)}

    divided = {count: (one.batch_size, one.accumulation) for count, one in shares.items()}
    assert divided == {1: (8, 4), 2: (8, 2), 4: (8, 1), 8: (4, 1), 32: (1, 1)}
    with pytest.raises(UsageError, match=r"32 sequences of a step .* Pass a divisor of 32"):
        plan.divided(given, 3)


@pytest.mark.parametrize(("gpus", "gibibytes", "wanted"), [(0, 0, 1), (1, 80, 1), (4, 80, 4), (6, 80, 4), (4, 0.5, 1)])
def test_one_process_trains_on_each_gpu_that_the_model_fits_on(
    gpus: int, gibibytes: float, wanted: int, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from lora_retraining.base_model.loading import find_model
    from projects_common.models.headers import read_headers

    size = int(gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda gpu: SimpleNamespace(total_memory=size))
    monkeypatch.setattr(plan, "precision_of", lambda chosen, device: (torch.bfloat16, True))

    chosen = read_settings({"preset": "tiny", "batch_size": "8"})

    assert plan.choose_processes(chosen, find_model("tiny").config, read_headers(tiny_folder)) == wanted
