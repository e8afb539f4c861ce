"""Phase `preflight`: looks at the base model, the scripts, the machine and the data before anything is trained, refuses
what would come to nothing, and hands on the rows to train on and the tasks to test with.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_plugin import start_phase
from mlflow_plugin.progress import say
from retraining.presets import Settings, add_arguments, settings

if TYPE_CHECKING:
    from mlflow_plugin.phase.active import ActivePhase
    from retraining.checks.checklist import Check
    from retraining.checks.everything import Findings

TAKEN = (
    "preset",
    "model",
    "data",
    "test_data",
    "limit",
    "rank",
    "dropout",
    "epochs",
    "batch_size",
    "accumulation",
    "max_length",
    "gradient_checkpointing",
    "packing",
    "dtype",
    "merge_dtype",
    "device",
    "seed",
    "override",
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser, *TAKEN)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, settings(arguments))


def run(phase: "ActivePhase", chosen: Settings) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    import mlflow

    say(f"{phase.name}: looking at {chosen.model}, {chosen.data} and this machine")
    from retraining.checks.checklist import override, refuse_failed
    from retraining.checks.everything import look_at_everything

    found = look_at_everything(chosen, Path.cwd(), str(mlflow.get_artifact_uri()))
    checks = override(found.checks, chosen.override)
    show(phase, checks)
    phase.log(found.estimate)
    refuse_failed(checks)
    write_outputs(phase, found)


def show(phase: "ActivePhase", checks: "list[Check]") -> None:
    """Prints the checklist, and keeps it with the run: it has free memory in it, so it is no output."""
    import mlflow

    from retraining.checks.checklist import as_data, as_markdown, as_text

    print(as_text(checks), flush=True)
    mlflow.log_text(as_markdown(checks), "preflight/checklist.md")
    mlflow.log_dict(as_data(checks), "preflight/checklist.json")
    phase.describe(as_markdown(checks))
    by_status = {
        status: [check for check in checks if check.status == status] for status in ("fail", "overridden", "warn")
    }
    phase.log(
        preflight_failed=len(by_status["fail"]),
        preflight_overridden=len(by_status["overridden"]),
        preflight_warned=len(by_status["warn"]),
    )
    for check in by_status["overridden"]:
        say(f"{phase.name}: OVERRIDDEN, and everything that follows stands on it: {check.title}: {check.detail}")


def write_outputs(phase: "ActivePhase", found: "Findings") -> None:
    """Rows, tasks and facts of the base, the same bytes for the same data and model."""
    from mlflow_plugin.errors import PhaseError
    from retraining.checks.everything import base_facts
    from retraining.tasks import write_tasks

    data, files = found.data, found.files
    if data is None or not data.rows or files is None:
        raise PhaseError(
            f"{phase.name}: without a model and data there is nothing to go on with, whatever is overridden."
        )
    phase.output("train.jsonl", lambda file: write_rows(data.rows, file))
    phase.output("train_tasks.jsonl", lambda file: write_tasks(data.train_tasks, file))
    phase.output("test_tasks.jsonl", lambda file: write_tasks(data.test_tasks, file))
    facts = json.dumps(base_facts(files, found.headers), indent=2, sort_keys=True) + "\n"
    phase.output("base.json", lambda file: file.write_text(facts, encoding="utf-8"))


def write_rows(rows: "list[dict[str, Any]]", file: Path) -> None:
    """One JSON object a line."""
    with open(file, "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows)


if __name__ == "__main__":
    main()
