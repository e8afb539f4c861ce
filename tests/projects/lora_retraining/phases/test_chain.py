"""All eight phases of the tiny preset in one process: what one phase writes, the next one reads."""

import json

import pytest
from lora_project import LoraProject

PHASES = {
    "preflight": (),
    "train": (),
    "merge": (),
    "validate": (),
    "extract_failures": (),
    "train_1b": ("--data-phase", "extract_failures", "--base-phase", "merge"),
    "merge_1b": ("--adapter-phase", "train_1b", "--base-phase", "merge"),
    "validate_1b": ("--model-phase", "merge_1b", "--baseline-phase", "validate"),
}


@pytest.mark.slow
def test_each_phase_reads_what_the_phases_before_it_wrote(project: LoraProject) -> None:
    runs = {
        phase: project.run(phase, "--preset", "tiny", *options, script=phase.removesuffix("_1b"))
        for phase, options in PHASES.items()
    }

    assert {run.data.tags["phase.verdict"] for run in runs.values()} == {"run"}
    results = json.loads((project.outputs(runs["validate_1b"]) / "results.json").read_text())
    assert (results["verdict"], results["baseline"]) == ("pass", "phase validate")
    base = json.loads((project.outputs(runs["train_1b"]) / "adapter/base.json").read_text())
    assert base["source"] == "tiny merged by phase merge"
