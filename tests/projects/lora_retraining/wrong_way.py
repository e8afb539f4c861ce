"""Make the mistake that this project prevents, on purpose: an adapter trained against a 4-bit base and merged into the
full-precision one, next to the same training done rightly.

    python -m tests.projects.lora_retraining.wrong_way [--preset smollm2|tiny] [--rows 320] [--tasks 0]

Prints the message of preflight on the 4-bit base, that of merge, and, with both refusals overridden, the check of the
merged model. With --tasks the merged models are also graded on so many test tasks.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "projects/lora_retraining"))

import torch
from lora_retraining.base_model.digest import weights_digest
from lora_retraining.base_model.loading import find_model, multiplies_bfloat16
from lora_retraining.checks.base_precision import check_base_precision
from lora_retraining.data.chat import encode_rows
from lora_retraining.data.generator import generated_tasks, training_rows
from lora_retraining.data.tasks import Task
from lora_retraining.grading.objective import grade_all
from lora_retraining.merging.logits import LogitComparison, compare_logits
from lora_retraining.merging.merged_model import DTYPES, MergedModel, merge_adapter, reference_base, stored_dtype
from lora_retraining.settings import PRESETS, Settings
from lora_retraining.training.adapter import add_adapter, save_adapter
from lora_retraining.training.loop import make_trainer, training_arguments
from lora_retraining.training.plan import make_plan
from lora_retraining.validation.generation import complete, prompt_ids
from projects_common.models.headers import read_headers
from projects_common.models.loading import ModelFiles, load_model, load_tokenizer
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, set_seed

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically

INNOCENT_NAME = "base-model"
OVERRIDDEN = ("base_digest",)


@dataclass(frozen=True)
class Outcome:
    """`preflight` and `refusal` are messages, "" for none; `accuracy` is None if nothing was graded."""

    way: str
    preflight: str
    refusal: str
    logits: LogitComparison
    accuracy: float | None


def quantise(files: ModelFiles, folder: Path) -> ModelFiles:
    """Make a copy of a model with the weights of its linear layers as NF4, made and saved by bitsandbytes.

    Dettmers et al. 2023, arXiv:2305.14314, section 3.
    """
    kinds = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(files.folder, quantization_config=kinds, device_map="cpu")
    # Before anything is computed: on CPUs the first forward pass packs the weights anew, into a form not for saving.
    model.save_pretrained(folder)
    load_tokenizer(files).save_pretrained(folder)
    return find_model(str(folder))


def load_to_train(files: ModelFiles) -> Any:
    """Load the model in float32; a 4-bit one is scaled back first.

    bitsandbytes has no gradients on CPUs, and these are the numbers that its layers compute with.
    """
    model = load_model(files, torch.float32, "cpu")
    return model.dequantize().float() if getattr(model, "is_quantized", False) else model


def train(files: ModelFiles, tasks: Sequence[Task], settings: Settings, folder: Path) -> Path:
    """Train an adapter as the phase does, without the phase; return its folder."""
    set_seed(settings.seed)
    tokenizer = load_tokenizer(files)
    rows = encode_rows(tokenizer, training_rows(tasks), settings.max_length).rows
    model = add_adapter(load_to_train(files), settings, files.source)
    plan = make_plan(rows, len(rows), settings)
    print(plan.sentence(), file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = training_arguments(plan, settings, scratch, cpu=True, autocast=multiplies_bfloat16())
        trainer = make_trainer(model, rows, arguments, tokenizer.pad_token_id or 0)
        with report_periodically(lambda: f"step {trainer.state.global_step} of {plan.steps}"):
            trainer.train()
        trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    base = {"source": files.source, "revision": "", "weights_digest": weights_digest(files.folder), "dtype": "float32"}
    save_adapter(model, tokenizer, base, folder)
    return folder


def merge(adapter: Path, base: ModelFiles, folder: Path, dtype: str) -> tuple[MergedModel, str]:
    """Return the merged model and the message of the refusal, which is then overridden."""
    try:
        return merge_adapter(adapter, base, folder, dtype), ""
    except PhaseError as error:
        return merge_adapter(adapter, base, folder, dtype, override=OVERRIDDEN), str(error)


def compare(merged: MergedModel, tasks: Sequence[Task]) -> LogitComparison:
    """Compare logits as the merge phase does, on the same kind of prompts."""
    reference = reference_base(merged)
    tokenizer = load_tokenizer(merged.files)
    return compare_logits(
        merged.files,
        reference,
        merged.adapter.folder,
        [prompt_ids(tokenizer, task.prompt) for task in tasks],
        DTYPES[merged.dtype],
        stored_dtype(read_headers(reference.folder)),
        torch.device("cpu"),
    )


def accuracy(files: ModelFiles, tasks: Sequence[Task], settings: Settings) -> float:
    """Return the share of tasks that a model solves, graded as in validation."""
    model, tokenizer = load_model(files, torch.float32, "cpu"), load_tokenizer(files)
    written = dict(complete(model, tokenizer, [task.prompt for task in tasks], settings.max_new_tokens, 16))
    grades = grade_all(tasks, [written[index] for index in range(len(tasks))])
    return sum(grade.correct is True for grade in grades) / len(tasks)


def both_ways(settings: Settings, rows: int, graded: int, folder: Path) -> list[Outcome]:
    """Train and merge rightly, then wrongly."""
    full = find_model(settings.model)
    four_bit = quantise(full, folder / INNOCENT_NAME)
    train_tasks, test_tasks = generated_tasks("train", rows, 0), generated_tasks("test", max(8, graded), 0)
    outcomes = []
    for way, base in (("right: trained against full precision", full), ("wrong: trained against 4 bits", four_bit)):
        place = folder / way.partition(":")[0]
        place.mkdir()
        said = check_base_precision(settings.model if base is full else base.source, base)
        adapter = train(base, train_tasks, settings, place / "adapter")
        merged, refusal = merge(adapter, full, place / "model", settings.merge_dtype)
        outcomes.append(
            Outcome(
                way,
                said.detail if said.status == "fail" else "",
                refusal,
                compare(merged, test_tasks),
                accuracy(merged.files, test_tasks[:graded], settings) if graded else None,
            )
        )
    return outcomes


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes as Markdown."""
    lines = ["| | " + " | ".join(outcome.way for outcome in outcomes) + " |", "|---" * (len(outcomes) + 1) + "|"]
    rows = {
        "preflight": [f"refuses: {o.preflight}" if o.preflight else "passes" for o in outcomes],
        "merge": [f"refuses: {o.refusal}" if o.refusal else "merges" for o in outcomes],
        "difference of logits": [f"{o.logits.difference:.2e}" for o in outcomes],
        "tolerance": [f"{o.logits.tolerance:.2e}" for o in outcomes],
        "gate": ["passes" if o.logits.difference <= o.logits.tolerance else "**fails**" for o in outcomes],
        "KL divergence, nats": [f"{o.logits.divergence:.2e}" for o in outcomes],
        "same token chosen": [f"{o.logits.same_choice:.1%}" for o in outcomes],
        "test tasks solved": ["" if o.accuracy is None else f"{o.accuracy:.1%}" for o in outcomes],
    }
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items())])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="smollm2", choices=("smollm2", "tiny"))
    parser.add_argument("--rows", type=int, default=320, help="to train on")
    parser.add_argument("--tasks", type=int, default=0, help="to grade both merged models on")
    arguments = parser.parse_args()
    settings = PRESETS[arguments.preset].changed(packing="grouped")
    with tempfile.TemporaryDirectory() as folder:
        print(as_table(both_ways(settings, arguments.rows, arguments.tasks, Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
