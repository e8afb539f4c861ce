"""A phase that is started from one of the processes of a launcher, whose variables it finds."""

from pathlib import Path

import mlflow
import pytest

pytestmark = pytest.mark.end_to_end

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


def test_a_phase_that_is_started_from_one_of_several_processes_is_not_one_of_them(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MLproject").write_text(
        'entry_points:\n  train:\n    command: "python train.py"\n    phase: {}\n', encoding="utf-8"
    )
    (tmp_path / "train.py").write_text(
        "from mlflow_plugin import start_phase\n\n"
        "with start_phase() as phase:\n    phase.log(processes=phase.processes)\n",
        encoding="utf-8",
    )
    for name, value in zip(LAUNCHER, ("1", "2", "1", "2"), strict=True):
        monkeypatch.setenv(name, value)
    mlflow.projects.run(str(tmp_path), "train", backend="phases", env_manager="local")
    (run,) = mlflow.MlflowClient(store).search_runs(["0"])
    assert run.data.metrics["processes"] == 1
    assert "phase.completed_at" in run.data.tags
