"""A training that two processes began and one ends.

Cheaper siblings: test_several_processes.py here, and test_train.py in tests/projects/lora_retraining/phases.
"""

import os
import signal
import subprocess
import sys

import psutil
import torch
from lora_project import PYTHONPATH, LoraProject
from processes import wait_until
from safetensors.torch import load_file

GIVEN = ("--epochs", "10", "--batch-size", "4", "--accumulation", "2", "--packing", "grouped", "--dtype", "float32")


def test_one_process_resumes_where_two_were_killed(project: LoraProject) -> None:
    # The number of processes is no parameter here, as it is ignored in the real project.
    manifest = project.folder / "MLproject"
    manifest.write_text(manifest.read_text().replace("every: 2", "every: 1\n        keep_last: 99"))
    project.give_preflight("tiny")
    words = ["--preset", "tiny", *GIVEN]
    run_id = project.start("train", *words)
    process = subprocess.Popen(
        [sys.executable, "-m", "lora_retraining.phases.train", *words, "--device", "cpu", "--processes", "2"],
        cwd=project.folder,
        env=os.environ | {"MLFLOW_RUN_ID": run_id, "PYTHONPATH": PYTHONPATH},
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
