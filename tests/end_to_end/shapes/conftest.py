"""A project whose phases hand over by files on the disk."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import mlflow
import pytest

from mlflow_plugin.testing import TemporaryStore, temporary_store

MLPROJECT = """
name: by_disk
entry_points:
  prepare:
    parameters:
      seed: {{type: int, default: 0}}
    command: "python prepare.py {{seed}}"
    phase: {{outputs: {outputs}}}
  train:
    parameters:
      rate: {{type: float, default: 0.1}}
    command: "python train.py {{rate}}"
    phase:
      needs: [prepare]
      outputs: [models]
  evaluate:
    command: "python evaluate.py"
    phase: {{needs: [train], outputs: [evaluated.txt]}}
  main:
    parameters:
      seed: {{type: int, default: 0}}
      rate: {{type: float, default: 0.1}}
    pipeline: [evaluate]
"""
PREPARE = """
import sys
from pathlib import Path

folder = Path("data/processed")
folder.mkdir(parents=True, exist_ok=True)
(folder / f"part-{sys.argv[1]}.csv").write_text(f"part {sys.argv[1]}")
(folder / "all.csv").write_text(f"seed {sys.argv[1]}")
"""
TRAIN = """
import sys
from pathlib import Path

names = sorted(path.name for path in Path("data/processed").iterdir())
Path("models").mkdir(exist_ok=True)
Path("models/model.txt").write_text(f"{Path('data/processed/all.csv').read_text()} {names} rate {sys.argv[1]}")
"""
EVALUATE = """
from pathlib import Path

Path("evaluated.txt").write_text(Path("models/model.txt").read_text())
"""


class ByDisk:
    """The project, its store, and what happened in it."""

    def __init__(self, folder: Path, store: TemporaryStore) -> None:
        self.folder, self.store = folder, store
        self.declare()
        for name, text in (("prepare", PREPARE), ("train", TRAIN), ("evaluate", EVALUATE)):
            (folder / f"{name}.py").write_text(dedent(text))

    def declare(self, outputs: str = "[data/processed]") -> None:
        (self.folder / "MLproject").write_text(MLPROJECT.format(outputs=outputs))

    def run(self, entry_point: str = "main", **parameters: object) -> None:
        """Run with `-b phases` in this process."""
        mlflow.projects.run(str(self.folder), entry_point, parameters=parameters, backend="phases", env_manager="local")

    def run_plainly(self, entry_point: str, **parameters: object) -> None:
        """Run with MLflow's own backend, as a user does."""
        given = [part for name, value in parameters.items() for part in ("-P", f"{name}={value}")]
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        words = [sys.executable, "-m", "mlflow", "run", str(self.folder), "-e", entry_point, "--env-manager", "local"]
        done = subprocess.run([*words, *given], env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def started(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start `mlflow-phases` in the project's folder."""
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, "-m", "mlflow_plugin", *words], cwd=self.folder, **quiet)

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `mlflow-phases` in the project's folder."""
        return subprocess.run(
            [sys.executable, "-m", "mlflow_plugin", *words], cwd=self.folder, capture_output=True, text=True
        )

    def verdicts(self) -> dict[str, str]:
        """The verdict of the newest run of each phase."""
        return {phase: self.tags(phase)["phase.verdict"] for phase in ("prepare", "train", "evaluate")}

    def tags(self, phase: str) -> dict[str, str]:
        return dict(self.store.runs(phase)[0].data.tags)

    def evaluated(self) -> str:
        """The text that the newest evaluation stands for."""
        tags, run_id = self.tags("evaluate"), self.store.runs("evaluate")[0].info.run_id
        return self.stored(tags.get("phase.reused_run_id") or run_id, "evaluated.txt").read_text()

    def stored(self, run_id: str, name: str) -> Path:
        """Where the store holds a file that a run left in the project."""
        artifacts = str(self.store.client.get_run(run_id).info.artifact_uri).removeprefix("file://")
        return Path(artifacts) / "project_files" / name

    def files(self) -> dict[str, str]:
        """What lies under the declared outputs."""
        found = {}
        for folder in ("data/processed", "models"):
            for where, _, names in os.walk(self.folder / folder):
                for name in names:
                    path = Path(where, name)
                    with contextlib.suppress(FileNotFoundError):  # A file that was just put into its place.
                        found[str(path.relative_to(self.folder))] = path.read_text()
        return found

    def aside(self) -> list[str]:
        """The contents of the files that were moved aside."""
        return sorted(
            path.read_text() for path in (self.folder / ".mlflow-phases").glob("aside/**/*") if path.is_file()
        )

    def output_names(self, phase: str) -> list[str]:
        """The names among the outputs of the newest run of a phase that computed."""
        run = next(run for run in self.store.runs(phase) if run.data.tags["phase.verdict"] == "run")
        return sorted(json.loads(run.data.tags["mlflow.phase.outputs"])["sizes"])


@pytest.fixture
def by_disk(tmp_path: Path) -> Iterator[ByDisk]:
    folder = tmp_path / "project"
    folder.mkdir()
    with temporary_store(tmp_path / "store") as store:
        yield ByDisk(folder, store)
