"""Merge an adapter into its full-precision base, and compare the result with base and adapter: phase `merge`, and
phase `merge_1b` on the merged model.
"""

import argparse
from functools import partial

from projects_common.messages import show_messages

from lora_retraining.settings import add_arguments, read_settings
from mlflow_plugin import start_phase

PARAMETERS = ("preset", "model", "merge_dtype", "device", "override")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adapter-phase", default="train", help="the phase whose adapter is merged")
    parser.add_argument("--base-phase", default="none", help="the phase whose merged model is the base; none: `model`")
    add_arguments(parser, *PARAMETERS)
    given = parser.parse_args()
    with start_phase() as phase:
        show_messages("lora_retraining")
        settings = read_settings(given)
        import mlflow

        from lora_retraining.merging import report, session  # Late: only now is it known that something is computed.

        merged = None if given.base_phase == "none" else phase.input(given.base_phase) / "model"
        base = session.find_base(settings.model, merged, given.base_phase)
        adapter = phase.input(given.adapter_phase) / "adapter"
        merging = session.Merging(settings, base, adapter, partial(phase.progress, description="merging"))
        phase.output("model", merging.write)
        comparison = merging.compare(phase.input("preflight") / "test_tasks.jsonl")
        mlflow.log_table(report.table(comparison.data), "merge/layers.json")
        phase.log(comparison.metrics)
        phase.describe(report.description(comparison.data))
        phase.output("merge.json", comparison.save)


if __name__ == "__main__":
    main()
