"""The script of `train` in two real processes that share the batches of a step.

Cheaper sibling, in one process: test_train.py in tests/projects/lora_retraining/phases.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from lora_project import PYTHONPATH, LoraProject
from mlflow.entities import Run
from safetensors.torch import load_file

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
