"""A training that two processes began and one ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from lora_project import LoraProject
from processes import wait_until
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[4]
MODULES = os.pathsep.join([str(ROOT), str(ROOT / "projects/lora_retraining")])
GIVEN = ("--epochs", "10", "--batch-size", "4", "--accumulation", "2", "--packing", "grouped", "--dtype", "float32")


@pytest.mark.end_to_end
@pytest.mark.nightly
def test_one_process_goes_on_where_two_were_killed(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project = LoraProject(tmp_path / "project", monkeypatch)
    # The number of processes is no parameter here, as it is ignored in the real project.
    manifest = project.folder / "MLproject"
    ignored = 'train.py {given}"\n    phase: {needs: [preflight], checkpoints: {every: 1, keep_last: 99}}'
    manifest.write_text(
        manifest.read_text().replace(
            'train.py {given}"\n    phase: {needs: [preflight], checkpoints: {every: 2}}', ignored
        )
    )
    project.give_preflight("tiny")
    words = ["--preset", "tiny", *GIVEN]
    tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(project.folder)}
    run_id = project.client.create_run("0", tags=tags).info.run_id
    project.client.log_param(run_id, "given", " ".join(words))
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_retraining.phases.train", *words, "--device", "cpu", "--processes", "2"],
        cwd=project.folder,
        env=os.environ | {"MLFLOW_RUN_ID": run_id, "PYTHONPATH": MODULES},
    )
    try:
        newest = "mlflow.phase.checkpoint"
        wait_until(lambda: project.client.get_run(run_id).data.tags.get(newest, "") >= "step-000004", "step 4")
    finally:
        for member in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
            member.send_signal(signal.SIGKILL)
        process.wait()

    resumed = project.train(*GIVEN)
    whole = project.train(*GIVEN, "--seed", "0")

    assert resumed.data.tags["phase.verdict"] == "resume"
    assert whole.data.tags["phase.verdict"] == "run"
    adapters = [load_file(project.outputs(run) / "adapter/adapter_model.safetensors") for run in (resumed, whole)]
    for name, tensor in adapters[0].items():
        torch.testing.assert_close(adapters[1][name], tensor, rtol=1e-2, atol=1e-3)
