"""Validate a merged model: answers to test tasks, graded objectively, against a reference; gates decide by intervals.
Phase `validate`, and phase `validate_1b`, whose baseline is the first.
"""

import argparse

from projects_common.messages import show_messages

from lora_retraining.settings import AUTO, add_arguments, read_settings
from mlflow_plugin import start_phase

PARAMETERS = (
    *("preset", "model", "samples", "max_new_tokens", "batch_size", "dtype", "device", "seed"),
    *("reference", "judge_url", "judge_model", "baseline"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    models = ("merge", "merge_1b")
    parser.add_argument("--model-phase", default="merge", choices=models, help="the phase whose model is validated")
    parser.add_argument("--baseline-phase", default="none", help="an earlier validation to compare with, or none")
    parser.add_argument("--checkpoint-every", type=int, default=0, help="batches between checkpoints; 0: as is due")
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        import mlflow

        from lora_retraining.validation import session  # Late: only now is it known that something is computed.

        earlier = given.baseline_phase
        inputs = session.Inputs(
            preflight=phase.input("preflight"),
            model=phase.input(given.model_phase) / "model",
            baseline=None if earlier == "none" else (earlier, phase.input(earlier)),
            trained_on_base=given.model_phase == "merge",
        )
        validation = session.validate(
            settings,
            inputs,
            phase,
            phase.progress,
            batch_size_given=given.batch_size != AUTO,
            every=given.checkpoint_every or None,
        )
        phase.log(validation.metrics)
        mlflow.log_table(validation.table(), "items.json")
        phase.describe(validation.description())
        phase.output("items.jsonl", validation.save_items)
        phase.output("results.json", validation.save_summary)
        if reason := validation.quarantine_reason():
            phase.quarantine(given.model_phase, f"{phase.name} {reason}")


if __name__ == "__main__":
    main()
