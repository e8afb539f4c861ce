"""Memory that runs out while a model is loaded and while it is trained, through the real script."""

import json
from typing import Any

import pytest
import torch
from lora_project import LoraProject
from transformers import LlamaForCausalLM

from mlflow_plugin.store.schema import BATCH_SIZE


@pytest.fixture(autouse=True)
def _preflight(project: LoraProject) -> None:
    project.give_preflight("tiny")


def allocator_for(examples: int, patch: pytest.MonkeyPatch) -> list[int]:
    """Allow memory for the activations of so many examples at once; return the sizes that were tried in training."""
    forward, tried = LlamaForCausalLM.forward, []

    def limited(self: Any, input_ids: torch.Tensor, **given: Any) -> Any:
        if self.training:
            tried.append(len(input_ids))
            if len(input_ids) > examples:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return forward(self, input_ids, **given)

    patch.setattr(LlamaForCausalLM, "forward", limited)
    return tried


def test_the_batch_halves_until_it_fits_and_that_is_recorded(
    project: LoraProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    tried = allocator_for(2, monkeypatch)

    run = project.train("--packing", "grouped", "--batch-size", "8", "--epochs", "1")

    assert tried[:3] == [8, 4, 2]
    trained = json.loads((project.outputs(run) / "training.json").read_text())
    assert (trained["batch_size"], trained["batch_size_used"], trained["accumulation_used"]) == (8, 2, 4)
    assert trained["steps"] == 3
    assert run.data.metrics[BATCH_SIZE] == 2
    assert "batches of 2 instead of 8" in run.data.tags["mlflow.note.content"]
    assert "continuing with 2 examples at a time" in capsys.readouterr().err


def test_halved_batches_teach_the_same(project: LoraProject, monkeypatch: pytest.MonkeyPatch):
    given = ("--packing", "grouped", "--dtype", "float32", "--batch-size", "8", "--epochs", "1")
    whole = project.train(*given)
    allocator_for(4, monkeypatch)
    halved = project.train(*given, "--seed", "0")

    assert halved.data.metrics["loss_after"] == pytest.approx(whole.data.metrics["loss_after"], rel=1e-3)


def test_memory_for_not_even_one_example_ends_the_phase_with_advice(
    project: LoraProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    allocator_for(0, monkeypatch)

    with pytest.raises(SystemExit) as ended:
        project.train("--packing", "grouped")

    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "out of memory at step 1 with single examples" in told
    assert "Traceback" not in told


def test_memory_that_does_not_hold_the_base_ends_the_phase_with_advice(
    project: LoraProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*given: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 14.96 GiB.")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", full)

    with pytest.raises(SystemExit) as ended:
        project.train()

    assert ended.value.code == 1
    assert "out of memory while 'tiny' was loaded" in capsys.readouterr().err


def test_memory_that_runs_out_around_the_batches_ends_the_phase_with_advice(
    project: LoraProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def full(*given: object, **named: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("transformers.Trainer.create_optimizer", full)

    with pytest.raises(SystemExit) as ended:
        project.train()

    assert ended.value.code == 1
    assert "out of memory outside of a batch" in capsys.readouterr().err
