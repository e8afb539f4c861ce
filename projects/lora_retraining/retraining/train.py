"""Trains a LoRA adapter in full precision: phases `train` (on the base model) and `train_1b` (on the merged one, with
the rows that it failed).
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_plugin import PhaseError, start_phase
from mlflow_plugin.progress import say
from retraining.presets import AUTO, Settings, add_arguments, settings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase
    from retraining.base_model import ModelFiles

ROWS_OF = {"preflight": "train.jsonl", "extract_failures": "combined_losses.jsonl"}
"""Where the rows to train on are, by the phase that gives them."""
TAKEN = (
    "preset",
    "model",
    "rank",
    "alpha",
    "dropout",
    "learning_rate",
    "epochs",
    "failure_learning_rate",
    "failure_epochs",
    "batch_size",
    "accumulation",
    "processes",
    "max_length",
    "warmup_steps",
    "gradient_checkpointing",
    "packing",
    "dtype",
    "device",
    "seed",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="On several GPUs one process trains on each (DistributedDataParallel), if the model fits on one; they "
        "share the batches of a step, which stays as large. A model too big for one GPU is spread over all by its "
        "layers, in one process. processes=NUMBER says how many; torchrun is started by the script.",
    )
    parser.add_argument("--data-phase", default="preflight", choices=ROWS_OF)
    parser.add_argument("--base-phase", default="none", choices=("none", "merge"))
    add_arguments(parser, *TAKEN)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments)


def run(phase: "ActivePhase", arguments: argparse.Namespace) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    chosen = settings_of(arguments)
    source, files = base_of(phase, arguments.base_phase, chosen)
    chosen = shared(phase, chosen, files)

    from transformers import set_seed

    from mlflow_plugin.machine.ranks import process_count
    from mlflow_plugin.machine.threads import leave_busy_cores_alone
    from retraining.base_model import choose_device, load_tokenizer, weights_digest
    from retraining.chat import encode_rows
    from retraining.training.adapter import add_adapter, load_base, save_adapter
    from retraining.training.loop import train_adapter
    from retraining.training.precision import precision_of
    from retraining.training.processes import own_device

    base = {"source": source, "revision": files.revision, "weights_digest": weights_digest(files.folder)}
    tokenizer = load_tokenizer(files)
    rows = read_rows(phase.input(arguments.data_phase) / ROWS_OF[arguments.data_phase])
    encoded = encode_rows(tokenizer, rows, chosen.max_length)
    if not encoded.rows:
        raise PhaseError(f"{phase.name}: no row has an answer within max_length={chosen.max_length} tokens; raise it.")
    device = choose_device(own_device(chosen))
    if device.type == "cpu":
        leave_busy_cores_alone()
    dtype, autocast = precision_of(chosen, device)
    set_seed(chosen.seed)
    spread = chosen.device == AUTO and process_count() == 1
    model = add_adapter(load_base(files, dtype, device, spread=spread), chosen, source)
    began, resumed = time.monotonic(), phase.resumed_checkpoint() is not None
    trained = train_adapter(phase, model, encoded.rows, chosen, tokenizer.pad_token_id or 0, autocast)
    if arguments.data_phase == "preflight" and not resumed:
        phase.log(against_estimate(phase.name, time.monotonic() - began))
    trained |= {"rows_cut": encoded.cut, "rows_dropped": encoded.dropped, "rank": chosen.rank, "alpha": chosen.alpha}
    phase.log(loss_before=trained["loss_before"], loss_after=trained["loss_after"], loss_ratio=trained["loss_ratio"])
    base["dtype"] = trained["dtype"]
    phase.output("adapter", lambda folder: save_adapter(model, tokenizer, base, folder))
    phase.output("training.json", lambda file: file.write_text(json.dumps(trained, indent=2, sort_keys=True) + "\n"))
    phase.describe(described(source, trained))


def shared(phase: "ActivePhase", chosen: Settings, files: "ModelFiles") -> Settings:
    """What this process does of a step. Where several are to train, they go on from here, and this is one of them."""
    from mlflow_plugin.machine.ranks import process_count
    from retraining.headers import read_headers
    from retraining.training.processes import choose_processes, divided

    if process_count() == 1:
        phase.in_processes(choose_processes(chosen, files.config, read_headers(files.folder)))
    return divided(chosen, process_count())


def against_estimate(name: str, seconds: float) -> dict[str, float]:
    """How long training took against what preflight had expected, as metrics; none where it had expected nothing."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.format import describe_duration

    metrics = MlflowClient().get_run(os.environ["PHASE_INPUT_PREFLIGHT"]).data.metrics
    expected = metrics.get("estimated_training_seconds")
    if not expected:
        return {}
    say(f"{name}: training took {describe_duration(seconds)}; preflight expected {describe_duration(expected)}")
    return {"training_seconds_over_estimate": seconds / expected}


def settings_of(arguments: argparse.Namespace) -> Settings:
    """The settings; for failures their own learning rate and number of epochs."""
    from dataclasses import replace

    chosen = settings(arguments)
    if arguments.data_phase != "extract_failures":
        return chosen
    return replace(chosen, learning_rate=chosen.failure_learning_rate, epochs=chosen.failure_epochs)


def base_of(phase: "ActivePhase", base_phase: str, chosen: Settings) -> "tuple[str, ModelFiles]":
    """What the base model is called, the same on every machine, and its files.

    Raises PhaseError for one that preflight has not looked at.
    """
    from retraining.base_model import find_model
    from retraining.checks.everything import base_facts
    from retraining.headers import read_headers

    checked = json.loads((phase.input("preflight") / "base.json").read_text(encoding="utf-8"))
    if base_phase != "none":
        return f"{checked['source']} merged by phase {base_phase}", find_model(str(phase.input(base_phase) / "model"))
    files = find_model(chosen.model)
    found = base_facts(files, read_headers(files.folder))
    # The same model in another folder, or under another name, is the same model.
    if other := [name for name in found if name != "source" and checked.get(name) != found[name]]:
        told = ", ".join(f"{name} is {found[name]!r} and was {checked.get(name)!r}" for name in other)
        raise PhaseError(
            f"{phase.name}: this is not the base model that preflight has checked: {told}. Run preflight with the same "
            "model first: mlflow run . -e preflight -b phases."
        )
    return files.source, files


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Rows `{"id", "messages"}`. Raises PhaseError when there are none."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
    if not rows:
        raise PhaseError(f"{file.name} has no rows: there is nothing to learn from. The phase before it says why.")
    return rows


def described(source: str, trained: Mapping[str, Any]) -> str:
    """What came of the training, for the run's page."""
    halved = ""
    if trained["batch_size_used"] != trained["batch_size"]:
        halved = f" Memory sufficed for batches of {trained['batch_size_used']} instead of {trained['batch_size']}."
    return (
        f"An adapter of rank {trained['rank']} ({trained['trained_parameters']:,} parameters) for {source}, trained on "
        f"{trained['rows']:,} rows in {trained['steps']:,} steps ({trained['packing']} rows, "
        f"{trained['tokens']:,} tokens an epoch, {trained['supervised_tokens']:,} of them learnt).{halved}\n\n"
        f"Loss on the same rows: {trained['loss_before']:.4g} before, {trained['loss_after']:.4g} after."
    )


if __name__ == "__main__":
    main()
