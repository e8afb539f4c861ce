"""The whole project under MLflow: eight phases on the tiny model, and nothing computed twice.

Cheaper siblings: tests/projects/lora_retraining/phases/test_chain.py, where each phase reads what those before it
wrote, and the second run of the steering project's main in tests/projects/sentiment_steering/test_pipeline.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run

PROJECT = "projects/lora_retraining"
ROOT = Path(__file__).resolve().parents[4]
PHASES = ["preflight", "train", "merge", "validate", "extract_failures", "train_1b", "merge_1b", "validate_1b"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


def run_main(**parameters: object) -> subprocess.CompletedProcess[str]:
    given = [word for name, value in {"preset": "tiny", **parameters}.items() for word in ("-P", f"{name}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", PROJECT, "-e", "main", "-b", "phases", "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*command, *given], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def verdicts_of(store: str, *calls: dict[str, object]) -> list[tuple[str, str]]:
    """Run main with each call's parameters; return phase and verdict of all runs, oldest first."""
    for number, parameters in enumerate(calls):
        done = run_main(**parameters)
        assert done.returncode == 0, f"{number}: {done.stderr[-3000:]}{done.stdout[-3000:]}"
    return [(run.data.tags["phase.name"], run.data.tags["phase.verdict"]) for run in runs_in(store)]


def runs_in(store: str) -> list[Run]:
    runs = MlflowClient(store).search_runs(["0"], order_by=["attributes.start_time ASC"])
    return [run for run in runs if "phase.name" in run.data.tags]


def test_the_second_run_of_main_reuses_all_and_another_learning_rate_computes_what_depends_on_it(store: str) -> None:
    # A rate that gives a worse model would stop the pipeline.
    verdicts = verdicts_of(store, {}, {}, {"failure_learning_rate": "0.015", "decide": "rerun"})
    first, second = [(name, "run") for name in PHASES], [(name, "reuse") for name in PHASES]
    assert verdicts == [*first, *second, *second[:5], *first[5:]]

    runs = runs_in(store)
    by_name = {run.data.tags["phase.name"]: run for run in runs[:8]}
    file = download_artifacts(f"{by_name['validate'].info.artifact_uri}/outputs/results.json")
    results = json.loads(Path(file).read_text())
    assert results["verdict"] == "pass"
    merged = by_name["merge"].data.metrics
    assert merged["merge_logit_difference"] <= merged["merge_logit_tolerance"]
    lines = download_artifacts(f"{by_name['extract_failures'].info.artifact_uri}/outputs/combined_losses.jsonl")
    failures = [json.loads(line) for line in Path(lines).read_text().splitlines()]
    assert len(failures) == by_name["extract_failures"].data.metrics["failures"] > 0
    assert {row["provenance"]["split"] for row in failures} == {"train"}
