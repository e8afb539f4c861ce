"""Phase `preflight`: check the base model, the scripts, the machine and the data before anything is trained. Refuse a
training that would come to nothing, and hand on the rows to train on and the tasks to test with.
"""

import argparse
from pathlib import Path

from projects_common.messages import show_messages

from lora_retraining.settings import add_arguments, read_settings
from mlflow_plugin import start_phase

PARAMETERS = (
    *("preset", "model", "data", "test_data", "limit", "rank", "batch_size", "accumulation", "epochs", "max_length"),
    *("gradient_checkpointing", "packing", "dtype", "merge_dtype", "device", "seed", "override"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        import mlflow

        from lora_retraining.checks import checklist, run  # Late: only now is it known that something is computed.

        findings = run.run_checks(settings, Path.cwd(), str(mlflow.get_artifact_uri()))
        checks = checklist.override(findings.checks, settings.override)
        print(checklist.as_text(checks), flush=True)
        # Artifacts, not outputs: the checklist names free memory, which differs from run to run.
        mlflow.log_text(checklist.as_markdown(checks), "preflight/checklist.md")
        mlflow.log_dict(checklist.as_data(checks), "preflight/checklist.json")
        phase.describe(checklist.as_markdown(checks))
        phase.log(checklist.metrics(checks) | findings.estimate)
        checklist.refuse_failed(checks)
        for name, write in findings.outputs().items():
            phase.output(name, write)


if __name__ == "__main__":
    main()
