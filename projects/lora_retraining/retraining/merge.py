"""Merges an adapter into its full-precision base, and sees that the result is what base and adapter say together."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from mlflow_plugin import start_phase
from mlflow_plugin.progress import say
from retraining import presets


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter-phase", default="train", help="the phase whose adapter is merged")
    parser.add_argument("--base-phase", default="none", help="the phase whose merged model is the base; none: `model`")
    presets.add_arguments(parser, "preset", "model", "merge_dtype", "device", "override")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    with start_phase() as phase:
        run(phase, arguments, presets.settings(arguments))


def run(phase: Any, arguments: argparse.Namespace, settings: presets.Settings) -> None:
    """The work of the phase; nothing heavy is imported before the verdict is known."""
    from mlflow_plugin.machine.threads import leave_busy_cores_alone
    from retraining.base_model import choose_device
    from retraining.merging.merged_model import merge_adapter

    base = find_base(phase, arguments.base_phase, settings.model)
    device = choose_device(settings.device)
    if device.type == "cpu":
        leave_busy_cores_alone()
    adapter = phase.input(arguments.adapter_phase) / "adapter"
    merged: list[Any] = []

    def write(folder: Path) -> None:
        def progress(blocks: Any) -> Any:
            return phase.progress(blocks, description="merging")

        merged.append(
            merge_adapter(adapter, base, folder, settings.merge_dtype, device, settings.override, progress=progress)
        )

    phase.output("model", write)
    report(phase, merged[0], device)


def find_base(phase: Any, base_phase: str, model: str) -> Any:
    """The base to merge into: the merged model of an earlier phase, or a model by its name."""
    from retraining.base_model import find_model

    if base_phase == "none":
        return find_model(model)
    # Named by its phase: where the files of a run lie differs from run to run, and would be in merge.json.
    return dataclasses.replace(find_model(str(phase.input(base_phase) / "model")), source=f"the model of {base_phase}")


def report(phase: Any, merged: Any, device: Any) -> None:
    """Compares logits; logs metrics, the table of layers and merge.json."""
    import mlflow

    from retraining.headers import read_headers
    from retraining.merging import report
    from retraining.merging.logits import compare_logits, prompts_of
    from retraining.merging.merged_model import DTYPES, reference_base, stored_dtype

    reference = reference_base(merged)
    compared = compare_logits(
        merged.files,
        reference,
        merged.adapter.folder,
        prompts_of(merged.files, phase.input("preflight") / "test_tasks.jsonl"),
        DTYPES[merged.dtype],
        stored_dtype(read_headers(reference.folder)),
        device,
    )
    data = report.as_data(merged, reference.source, compared)
    for problem in data["files"]["problems"]:
        say(f"{phase.name}: attention: {problem}")
    say(f"{phase.name}: {report.rounding_sentence(data)}")
    mlflow.log_table(report.table(data), "merge/layers.json")
    phase.log(report.metrics(merged, compared))
    phase.describe(report.description(data))
    text = json.dumps(data, indent=2) + "\n"
    phase.output("merge.json", lambda file: file.write_text(text, encoding="utf-8"))


if __name__ == "__main__":
    main()
