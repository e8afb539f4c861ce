"""Let the merged model solve tasks of train splits, and hand on those that it fails: phase `extract_failures`."""

import argparse
import os

from projects_common.messages import show_messages

from lora_retraining.settings import AUTO, add_arguments, read_settings
from mlflow_plugin import start_phase

PARAMETERS = ("preset", "failure_tasks", "max_new_tokens", "batch_size", "dtype", "device", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint-every", type=int, default=0, help="batches between checkpoints; 0: as is due")
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        import mlflow

        from lora_retraining.validation import extraction  # Late: only now is it known that something is computed.

        extracted = extraction.extract(
            settings,
            phase.input("preflight"),
            phase.input("merge") / "model",
            phase,
            phase.progress,
            batch_size_given=given.batch_size != AUTO,
            every=given.checkpoint_every or None,
        )
        phase.log(extracted.metrics)
        mlflow.log_table(extracted.table(), "items.json")
        phase.describe(extracted.description(os.environ["PHASE_INPUT_MERGE"]))
        phase.output("combined_losses.jsonl", extracted.save_rows)
        phase.output("failures.json", extracted.save_summary)


if __name__ == "__main__":
    main()
