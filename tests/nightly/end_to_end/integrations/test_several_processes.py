"""A Trainer in two real processes (DDP): one run, one checkpoint, and an end as if nothing had been killed.

Cheaper sibling, in one process: test_a_signal_ends_the_training_after_a_checkpoint in
tests/store/integrations/test_transformers.py.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from processes import PATIENCE_SECONDS, wait_until

MLPROJECT = """\
name: NAME
entry_points:
  train:
    command: "torchrun --standalone --nproc-per-node 2 train.py"
    phase:
      checkpoints: {every: 1, keep_last: 30}
"""
SCRIPT = """\
import json
import os
import time

from mlflow_plugin import start_phase

with start_phase() as phase:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from mlflow_plugin.integrations.transformers import PhaseCallback

    class Hold(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            time.sleep(float(os.environ.get("PAUSE", 0)))
            if os.environ["RANK"] == "1" and str(state.global_step) == os.environ.get("MLFLOW_TESTS_HOLD_AT"):
                time.sleep(600)

    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                         num_attention_heads=2, attention_dropout=0.2)
    source = torch.Generator().manual_seed(7)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(32, (24, 8), generator=source)]
    trainer = Trainer(
        LlamaForCausalLM(config),
        TrainingArguments(
            "trainer", per_device_train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=4,
            logging_steps=2, learning_rate=1e-2, save_strategy="no", use_cpu=True, ddp_backend="gloo",
            disable_tqdm=True, report_to="none",
        ),
        train_dataset=rows,
        callbacks=[Hold()],
    )
    PhaseCallback(phase).train(trainer)
    phase.output("weights.json", lambda file: file.write_text(
        json.dumps({name: value.tolist() for name, value in trainer.model.state_dict().items()})))
"""


class Project:
    """A phase that is started as `mlflow run` starts it: a run, and its command in the project's folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "MLproject").write_text(MLPROJECT.replace("NAME", folder.name))
        (folder / "train.py").write_text(SCRIPT)
        self.folder, self.client = folder, MlflowClient()

    @contextmanager
    def started(self, **variables: str) -> Iterator["Training"]:
        tags = {"mlflow.project.entryPoint": "train", "mlflow.source.name": str(self.folder)}
        run_id = self.client.create_run("0", tags=tags).info.run_id
        output = self.folder.parent / f"{run_id}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py"],
                cwd=self.folder,
                env=os.environ | {"MLFLOW_RUN_ID": run_id} | variables,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        training = Training(self.client, run_id, process, output)
        try:
            yield training
        finally:
            training.kill_all()

    def finished(self) -> Run:
        with self.started() as training:
            assert training.process.wait(PATIENCE_SECONDS) == 0, training.text
        return training.run

    def history(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        names = ("loss", "grad_norm", "learning_rate", "train_loss")
        return {
            name: [(m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, name)] for name in names
        }


class Training:
    """torchrun and the two processes under it."""

    def __init__(self, client: MlflowClient, run_id: str, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self._client, self._run_id, self.process, self._output = client, run_id, process, output

    @property
    def run(self) -> Run:
        return self._client.get_run(self._run_id)

    @property
    def text(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, checkpoint: str) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.text
            return self.run.data.tags.get("mlflow.phase.checkpoint", "") >= checkpoint

        wait_until(there, checkpoint)

    def rank(self, number: int) -> psutil.Process:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return next(child for child in children if child.environ().get("RANK") == str(number))

    def kill_all(self) -> None:
        try:
            family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for member in family:
            member.kill()
        psutil.wait_procs(family, 10)
        self.process.wait()


def test_two_processes_that_are_killed_end_as_two_that_are_not(tmp_path: Path, store: str) -> None:
    victim, reference = Project(tmp_path / "victim"), Project(tmp_path / "reference")

    with victim.started(MLFLOW_TESTS_HOLD_AT="3") as training:
        training.wait_for("step-000003")
        training.rank(1).kill()
        assert training.process.wait(PATIENCE_SECONDS) != 0
        failed = training.run
    with victim.started(MLFLOW_TESTS_HOLD_AT="9") as training:
        training.wait_for("step-000009")
        training.kill_all()
    resumed, whole = victim.finished(), reference.finished()

    # It sees that the other is gone, or is told to end by torchrun, which has seen it first.
    reason = "another process of the training is gone", "terminated by a signal"
    assert failed.info.status in ("FAILED", "KILLED")
    assert any(each in failed.data.tags["phase.reason"] for each in reason)
    assert resumed.data.tags["phase.verdict"] == "resume"
    assert resumed.data.tags["phase.output_digest"] == whole.data.tags["phase.output_digest"]
    history = victim.history(resumed)
    assert history == reference.history(whole)
    assert [step for step, _ in history["loss"]] == [2, 4, 6, 8, 10, 12]
    assert len(victim.client.search_runs(["0"])) == 4

    again = victim.finished()
    assert again.data.tags["phase.verdict"] == "reuse"


def test_a_signal_to_all_saves_the_step_that_they_are_in(tmp_path: Path, store: str) -> None:
    project = Project(tmp_path / "project")

    with project.started(PAUSE="0.5") as training:
        training.wait_for("step-000001")
        training.process.send_signal(signal.SIGTERM)
        training.process.wait(PATIENCE_SECONDS)
        ended = training.run

    assert ended.info.status == "KILLED"
    assert "is saved" in ended.data.tags["phase.reason"]
