"""Train a LoRA adapter in full precision: phase `train` on the base model, phase `train_1b` on the merged model with
the rows that it failed.
"""

import argparse
import os

from projects_common.messages import show_messages

from lora_retraining.settings import add_arguments, read_settings
from mlflow_plugin import start_phase
from mlflow_plugin.machine.ranks import process_count

ROWS_OF = {"preflight": "train.jsonl", "extract_failures": "combined_losses.jsonl"}
"""File of the rows to train on, by the phase that wrote it."""
PARAMETERS = (
    *("preset", "model", "rank", "alpha", "dropout", "learning_rate", "epochs"),
    *("failure_learning_rate", "failure_epochs", "batch_size", "accumulation", "processes", "max_length"),
    *("warmup_steps", "gradient_checkpointing", "packing", "dtype", "device", "seed"),
)
GPUS = """On several GPUs one process trains on each (DistributedDataParallel), if the model fits on one. The processes
share the batches of a step, which stays as large. A model too big for one GPU is spread over all by its layers, in one
process. processes=NUMBER sets their number; the script starts torchrun itself."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=GPUS)
    parser.add_argument("--data-phase", default="preflight", choices=ROWS_OF)
    parser.add_argument("--base-phase", default="none", choices=("none", "merge"))
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        if given.data_phase == "extract_failures":
            settings = settings.changed(learning_rate=settings.failure_learning_rate, epochs=settings.failure_epochs)
        merged = None if given.base_phase == "none" else phase.input(given.base_phase) / "model"
        from lora_retraining.training import base as bases  # Late: only now is it known that something is computed.

        base = bases.find_base(settings.model, phase.input("preflight"), merged, given.base_phase)
        if process_count() == 1:
            phase.in_processes(bases.process_count_for(settings, base))
        from lora_retraining.training import session
        from mlflow_plugin.integrations.transformers import PhaseCallback

        rows, resumed = (
            phase.input(given.data_phase) / ROWS_OF[given.data_phase],
            phase.resumed_checkpoint() is not None,
        )
        trained = session.train(settings, base, rows, PhaseCallback(phase).train, phase.log, resumed=resumed)
        if given.data_phase == "preflight" and not resumed and (expected := expected_seconds()):
            phase.log(trained.against_estimate(expected))
        phase.log(trained.metrics)
        phase.output("adapter", trained.save_adapter)
        phase.output("training.json", trained.save_figures)
        phase.describe(trained.description())


def expected_seconds() -> float | None:
    """Return the duration that preflight has estimated, None if it has estimated none."""
    from mlflow.tracking import MlflowClient

    metrics = MlflowClient().get_run(os.environ["PHASE_INPUT_PREFLIGHT"]).data.metrics
    return metrics.get("estimated_training_seconds") or None


if __name__ == "__main__":
    main()
