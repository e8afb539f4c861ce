"""The script of `merge`, on the tiny model, and what the project's own gates say of its metrics."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lora_project import REAL, LoraProject, lines
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.data.generator import generated_tasks
from mlflow.artifacts import load_dict
from mlflow.entities import Run
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from mlflow_plugin.project.mlproject import load_project


class MergeProject(LoraProject):
    """With an adapter of the test's choosing."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, patch)
        self.give("preflight", {"test_tasks.jsonl": lines(generated_tasks("test", 8, seed=0))})

    def give_adapter(self, base: Path, source: str, phase: str = "train", size: float = 0.05) -> None:
        """Completes a training with an adapter of random weights of that size."""
        model = AutoModelForCausalLM.from_pretrained(base)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"]))
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(parameter, std=size)
        folder = self.folder.parent / f"adapter of {phase}"
        adapted.save_pretrained(str(folder))
        record = {"source": source, "revision": "", "weights_digest": weights_digest(base), "dtype": "float32"}
        (folder / "base.json").write_text(json.dumps(record))
        self.give(phase, {"adapter": folder})

    def merge(self, *arguments: str, phase: str = "merge") -> Run:
        return self.run(phase, "--preset", "tiny", *arguments, script="merge")


@pytest.fixture
def project(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> MergeProject:
    return MergeProject(tmp_path / "project", monkeypatch)


def failed_gates(run: Run) -> list[str]:
    """Return the gates of the project's `merge` that a run's metrics fail."""
    gates = load_project(REAL).phases["merge"].gates
    assert gates
    return [gate.text for gate in gates if gate.failure(run.data.metrics)]


def other_weights(base: Path, folder: Path) -> Path:
    """Make a copy of a model whose weights are a tenth larger."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.1
    model.save_pretrained(folder)
    for file in (*base.glob("tokenizer*"), *base.glob("*.jinja")):
        shutil.copy(file, folder)
    return folder


def test_a_right_merge_passes_all_gates_and_can_be_loaded(project: MergeProject, tiny_folder: Path):
    project.give_adapter(tiny_folder, "tiny")
    run = project.merge()
    assert run.info.status == "FINISHED"
    assert failed_gates(run) == []
    outputs = project.outputs(run)
    model = AutoModelForCausalLM.from_pretrained(outputs / "model")
    assert model.dtype == torch.float32
    assert (outputs / "model/tokenizer.json").read_bytes() == (tiny_folder / "tokenizer.json").read_bytes()
    metrics = run.data.metrics
    assert metrics["merge_bytes"] == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert 0 < metrics["merge_logit_difference"] < metrics["merge_logit_tolerance"] < 1e-4


def test_every_changed_layer_is_in_the_file_and_in_the_table(project: MergeProject, tiny_folder: Path):
    project.give_adapter(tiny_folder, "tiny")
    run = project.merge("--merge-dtype", "bfloat16")
    merged = json.loads((project.outputs(run) / "merge.json").read_text())
    modules = [f"model.layers.{layer}.{name}" for layer in (0, 1) for name in ("mlp.down_proj", "self_attn.q_proj")]
    assert sorted(row["module"] for row in merged["layers"]) == modules
    table = load_dict(f"{run.info.artifact_uri}/merge/layers.json")
    assert table["columns"] == list(merged["layers"][0])
    assert len(table["data"]) == 4
    assert merged["files"]["numbers_by_dtype"] == {"BF16": merged["files"]["parameters"]}
    assert merged["logits"]["noise_of_dtype"] > 0
    before = load_file(tiny_folder / "model.safetensors")
    after = load_file(project.outputs(run) / "model/model.safetensors")
    for row in merged["layers"]:
        old, new = (weights[f"{row['module']}.weight"] for weights in (before, after))
        assert row["share_changed"] == pytest.approx(float((old.bfloat16() != new).float().mean()), abs=1e-5)
        assert row["relative_change"] == pytest.approx(float((new.float() - old).norm() / old.norm()), rel=0.05)


def test_a_change_too_small_for_bfloat16_is_said_and_float32_offered(
    project: MergeProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
):
    project.give_adapter(tiny_folder, "tiny", size=2e-4)
    run = project.merge("--merge-dtype", "bfloat16")
    assert run.data.metrics["merge_lost_to_rounding"] > 0.5
    assert "-P merge_dtype=float32 keeps it" in capsys.readouterr().err
    assert "-P merge_dtype=float32 keeps it" in run.data.tags["mlflow.note.content"]


def test_an_adapter_of_another_base_is_refused_and_when_that_is_overridden_the_gates_catch_it(
    project: MergeProject, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    other = other_weights(tiny_folder, tmp_path / "other")
    project.give_adapter(other, str(other))
    with pytest.raises(SystemExit) as ended:
        project.merge()
    assert ended.value.code == 1
    assert "-P override=base_digest" in capsys.readouterr().err
    run = project.merge("--override", "base_digest")
    assert "merge_logit_difference <= merge_logit_tolerance" in failed_gates(run)
    assert "merge_base_matches == 1" in failed_gates(run)
    assert "**a base that is not its own**" in run.data.tags["mlflow.note.content"]


def test_nan_in_the_result_fails_its_gate(project: MergeProject, tiny_folder: Path, tmp_path: Path):
    broken = other_weights(tiny_folder, tmp_path / "broken")
    tensors: dict[str, Any] = {name: tensor.clone() for name, tensor in load_file(broken / "model.safetensors").items()}
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.nan
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    project.give_adapter(broken, str(broken))
    run = project.merge("--model", str(broken))
    assert {"merge_nonfinite == 0", "merge_logit_difference <= merge_logit_tolerance"} <= set(failed_gates(run))


def test_a_second_merge_is_made_onto_the_first_ones_model(project: MergeProject, tiny_folder: Path):
    project.give_adapter(tiny_folder, "tiny")
    first = project.outputs(project.merge()) / "model"
    project.give_adapter(first, "tiny merged by phase merge", phase="train_1b")
    run = project.merge("--adapter-phase", "train_1b", "--base-phase", "merge", phase="merge_1b")
    assert failed_gates(run) == []
    told = (project.outputs(run) / "merge.json").read_text()
    assert "the model of merge" in told
    assert "/" not in json.loads(told)["base"]["source"]  # The same bytes, wherever the first merge lies.
    name = "model.layers.0.mlp.down_proj.weight"
    tensors = [
        load_file(folder / "model.safetensors")[name] for folder in (tiny_folder, first, project.outputs(run) / "model")
    ]
    torch.testing.assert_close(tensors[2] - tensors[1], tensors[1] - tensors[0], rtol=1e-4, atol=1e-6)


def test_without_test_tasks_there_is_nothing_to_compare_logits_on_and_that_is_said(
    project: MergeProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    project.give_adapter(tiny_folder, "tiny")
    monkeypatch.setattr("lora_retraining.merging.logits.read_tasks", lambda file: [])
    with pytest.raises(SystemExit) as ended:
        project.merge()
    assert ended.value.code == 1
    assert "holds no task to try the merged model on" in capsys.readouterr().err


def test_a_value_that_cannot_be_ends_the_phase_with_what_may_stand_there(
    project: MergeProject, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
):
    project.give_adapter(tiny_folder, "tiny")
    with pytest.raises(SystemExit) as ended:
        project.merge("--merge-dtype", "float16")
    assert ended.value.code == 2
    assert "merge_dtype = 'float16' is not possible" in capsys.readouterr().err
