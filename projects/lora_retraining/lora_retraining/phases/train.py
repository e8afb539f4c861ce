"""Train a LoRA adapter: phase `train` on the base model, `train_1b` on the merged model with the rows that it failed.
On several GPUs one process trains on each (DistributedDataParallel) if the model fits on one; they share the batches of
a step, which stays as large. A bigger model is spread over all by its layers, in one process."""

import argparse
import os

from projects_common.messages import show_messages

from lora_retraining.settings import add_arguments, read_settings
from mlflow_plugin import start_phase
from mlflow_plugin.machine.ranks import process_count

ROWS_OF = {"preflight": "train.jsonl", "extract_failures": "combined_losses.jsonl"}  # The rows, by phase.
PARAMETERS = (
    *("preset", "model", "rank", "alpha", "dropout", "learning_rate", "epochs", "failure_learning_rate"),
    *("failure_epochs", "batch_size", "accumulation", "processes", "max_length", "warmup_steps"),
    *("gradient_checkpointing", "packing", "dtype", "device", "seed"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-phase", default="preflight", choices=ROWS_OF)
    parser.add_argument("--base-phase", default="none", choices=("none", "merge"))
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        from lora_retraining.training import base as bases  # Late: only now is it known that something is computed.

        merged = None if given.base_phase == "none" else phase.input(given.base_phase) / "model"
        base = bases.find_base(settings.model, phase.input("preflight"), merged, given.base_phase)
        if process_count() == 1:
            phase.in_processes(bases.process_count_for(settings, base))
        from lora_retraining.training import session  # After the processes have started: this takes seconds.
        from mlflow_plugin.integrations.transformers import PhaseCallback

        if given.data_phase == "extract_failures":
            settings = settings.for_failures()
        rows = phase.input(given.data_phase) / ROWS_OF[given.data_phase]
        resumed = phase.resumed_checkpoint() is not None
        trained = session.train(settings, base, rows, PhaseCallback(phase).train, phase.log, resumed=resumed)
        if given.data_phase == "preflight" and not resumed:
            from mlflow.tracking import MlflowClient

            metrics = MlflowClient().get_run(os.environ["PHASE_INPUT_PREFLIGHT"]).data.metrics
            phase.log(trained.against_estimate(metrics.get("estimated_training_seconds")))
        phase.log(trained.metrics)
        phase.output("adapter", trained.save_adapter)
        phase.output("training.json", trained.save_figures)
        phase.describe(trained.description())


if __name__ == "__main__":
    main()
