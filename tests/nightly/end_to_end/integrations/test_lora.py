"""A LoRA fine-tune of a real language model, killed with -9 and resumed.

Cheaper sibling: test_an_interrupted_lora_goes_on_and_its_checkpoints_hold_no_base_weights in
tests/store/integrations/test_transformers.py, with a tiny model in one process.
"""

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from processes import wait_until
from projects_common.models.smollm2 import smollm2_folder

MLPROJECT = """\
name: NAME
entry_points:
  train:
    parameters:
      model: string
    command: "python train.py {model}"
    phase:
      checkpoints: {every: 2}
"""
SCRIPT = """\
import os
import sys
import time

from mlflow_plugin import start_phase

with start_phase() as phase:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
    from transformers import DataCollatorForLanguageModeling

    from mlflow_plugin.integrations.transformers import PhaseCallback

    TEXTS = [
        "A film that I would gladly see again.",
        "The plot falls apart long before the end.",
        "Every scene is a delight.",
        "Two hours that nobody gives me back.",
        "Warm, witty and beautifully acted.",
        "A dull and noisy mess.",
    ]

    class Hold(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if str(state.global_step) == os.environ.get("MLFLOW_TESTS_HOLD_AT"):
                time.sleep(600)

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(phase.parameters["model"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(phase.parameters["model"], dtype=torch.float32)
    lora = LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = Trainer(
        get_peft_model(model, lora),
        TrainingArguments(
            output_dir="trainer",
            per_device_train_batch_size=1,
            gradient_accumulation_steps=2,
            num_train_epochs=2,
            learning_rate=1e-3,
            logging_steps=1,
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        ),
        DataCollatorForLanguageModeling(tokenizer, mlm=False),
        [tokenizer(text) for text in TEXTS],
        callbacks=[Hold()],
    )
    PhaseCallback(phase).train(trainer)
    phase.output("adapter", lambda folder: trainer.model.save_pretrained(folder))
"""


class Project:
    """A project whose phase is run as `mlflow run` would: a run, and the script in its folder."""

    def __init__(self, folder: Path, model: Path) -> None:
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT.replace("NAME", folder.name))
        (folder / "train.py").write_text(SCRIPT)
        self.folder, self.model, self.client = folder, model, MlflowClient()

    def new_run(self) -> str:
        tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(self.folder)}
        run_id: str = self.client.create_run("0", tags=tags).info.run_id
        self.client.log_param(run_id, "model", str(self.model))
        return run_id

    def killed(self, checkpoint: str, hold_at: int) -> None:
        """Start the script in a process of its own and kill that once a checkpoint is complete."""
        run_id = self.new_run()
        process = subprocess.Popen(
            [sys.executable, "train.py", str(self.model)],
            cwd=self.folder,
            env=os.environ | {"MLFLOW_RUN_ID": run_id, "MLFLOW_TESTS_HOLD_AT": str(hold_at)},
        )
        try:
            newest = "mlflow.phase.checkpoint"
            wait_until(
                lambda: process.poll() is not None or self.client.get_run(run_id).data.tags.get(newest) == checkpoint,
                checkpoint,
            )
            assert process.poll() is None
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def finished(self, patch: pytest.MonkeyPatch) -> Run:
        """Run the script in this process, which has the libraries loaded already."""
        run_id = self.new_run()
        with patch.context() as here:
            here.chdir(self.folder)
            here.setenv("MLFLOW_RUN_ID", run_id)
            here.setattr(sys, "argv", ["train.py", str(self.model)])
            runpy.run_path("train.py", run_name="__main__")
        return self.client.get_run(run_id)

    def history(self, run: Run) -> dict[str, list[Any]]:
        names = ("loss", "grad_norm", "learning_rate", "train_loss")
        return {
            name: sorted((m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, name))
            for name in names
        }


def test_a_killed_fine_tune_of_smollm2_ends_as_if_it_had_not_been(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as users:
        # The user's cache and not that of the tests: fetching and converting the model takes 20 seconds.
        users.delenv("XDG_CACHE_HOME")
        model = smollm2_folder()
    torch.set_num_threads(1)
    victim, reference = Project(tmp_path / "victim", model), Project(tmp_path / "reference", model)
    victim.killed("step-000004", hold_at=5)
    resumed = victim.finished(monkeypatch)
    uninterrupted = reference.finished(monkeypatch)

    assert resumed.data.tags["phase.verdict"] == "resume"
    assert victim.history(resumed) == reference.history(uninterrupted)
    assert [step for step, _ in victim.history(resumed)["loss"]] == [1, 2, 3, 4, 5, 6]
    assert resumed.data.tags["phase.output_digest"] == uninterrupted.data.tags["phase.output_digest"]
    files = [file for file in Path(uninterrupted.info.artifact_uri, "checkpoints").rglob("*") if file.is_file()]
    assert 0 < sum(file.stat().st_size for file in files) < model.joinpath("model.safetensors").stat().st_size / 20
