"""The whole project under MLflow: four phases on the tiny model, and nothing computed twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

ROOT = Path(__file__).resolve().parents[3]
SMALL = {"preset": "tiny", "pairs": 24, "held_out": 12, "strengths": "0,6", "new_tokens": 4, "device": "cpu"}


def run_main() -> subprocess.CompletedProcess[str]:
    parameters = [word for name, value in SMALL.items() for word in ("-P", f"{name}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", ".", "-e", "main", "-b", "phases", "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [*command, *parameters], cwd=ROOT, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.end_to_end
@pytest.mark.slow
def test_the_second_run_of_main_reuses_all_four_phases(store: str) -> None:
    first, second = run_main(), run_main()
    assert first.returncode == 0, first.stderr + first.stdout
    assert second.returncode == 0, second.stderr + second.stdout
    runs = MlflowClient(store).search_runs(["0"], order_by=["attributes.start_time ASC"])
    verdicts = [
        (run.data.tags["phase.name"], run.data.tags["phase.verdict"]) for run in runs if "phase.name" in run.data.tags
    ]
    phases = [f"phase{number}" for number in range(1, 5)]
    assert verdicts == [(name, "run") for name in phases] + [(name, "reuse") for name in phases]
    phase2 = next(run for run in runs if run.data.tags.get("phase.name") == "phase2")
    assert phase2.data.metrics["final_fidelity"] > phase2.data.metrics["identity_fidelity"]
    assert "Fidelity on held-out pairs" in phase2.data.tags["mlflow.note.content"]
