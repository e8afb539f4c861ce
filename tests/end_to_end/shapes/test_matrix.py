"""A phase that is repeated over seeds leaves a set of runs, which a later phase takes as a list."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import mlflow
import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.testing import TemporaryStore, temporary_store

pytestmark = pytest.mark.end_to_end

MLPROJECT = """
name: seeds
entry_points:
  prepare:
    parameters: {{rows: {{type: int, default: 3}}}}
    command: "python prepare.py {{rows}}"
    phase: {{}}
  train:
    parameters: {{seed: {{type: int, default: 0}}, rate: {{type: float, default: 0.1}}}}
    command: "python train.py {{seed}} {{rate}}"
    phase: {{needs: [prepare], {train}}}
  mean:
    parameters: {{train_run_ids: {{type: string, default: latest}}}}
    command: "python mean.py {{train_run_ids}}"
    phase: {{needs: [train]}}
  main:
    pipeline: [mean]
    {main}
"""
PREPARE = """
import sys
from mlflow_plugin import start_phase
with start_phase() as phase:
    phase.output("rows.txt", lambda path: path.write_text(sys.argv[1]))
"""
TRAIN = """
from mlflow_plugin import start_phase
with start_phase() as phase:
    seed = phase.parameters["seed"]
    rows = (phase.input("prepare") / "rows.txt").read_text()
    phase.output("model.txt", lambda path: path.write_text(f"model of seed {seed} and {rows} rows"))
"""
MEAN = """
import os, sys
from mlflow_plugin import start_phase
with start_phase() as phase:
    texts = [(folder / "model.txt").read_text() for folder in phase.inputs("train")]
    seeds = [values["seed"] for values in phase.input_values("train")]
    assert os.environ["PHASE_INPUT_TRAIN"] == sys.argv[1], (os.environ["PHASE_INPUT_TRAIN"], sys.argv)
    assert len(texts) == len(sys.argv[1].split(","))
    phase.output("mean.txt", lambda path: path.write_text(f"{seeds}: {texts}"))
"""


class Seeds:
    """The project, its store, and what happened in it. Its scripts hold their phases."""

    SCRIPTS: ClassVar = {"prepare": PREPARE, "train": TRAIN, "mean": MEAN}
    MLPROJECT = MLPROJECT

    def __init__(self, folder: Path, store: TemporaryStore) -> None:
        self.folder, self.store = folder, store
        self.declare("matrix: {seed: [0, 1, 2]}")
        for name, text in self.SCRIPTS.items():
            (folder / f"{name}.py").write_text(text)

    def declare(self, train: str, main: str = "") -> None:
        (self.folder / "MLproject").write_text(self.MLPROJECT.format(train=train, main=main))

    def run(self, entry_point: str = "main", config: dict[str, object] | None = None, **parameters: object) -> str:
        submitted = mlflow.projects.run(
            str(self.folder),
            entry_point,
            parameters=parameters,
            backend="phases",
            backend_config=config or {},
            env_manager="local",
        )
        return str(submitted.run_id)

    def new(self) -> list[tuple[str, str]]:
        """The runs since the last call, oldest first: name of the entry point with its seed, and verdict."""
        before: set[str] = getattr(self, "_seen", set())
        runs = [run for run in reversed(self.store.runs()) if run.info.run_id not in before]
        self._seen = before | {run.info.run_id for run in runs}
        return [(self._named(run), run.data.tags.get("phase.verdict", run.info.status)) for run in runs]

    def _named(self, run: mlflow.entities.Run) -> str:
        name = run.data.tags["mlflow.project.entryPoint"]
        return f"{name} {run.data.params['seed']}" if name == "train" else name

    def newest(self, entry_point: str) -> mlflow.entities.Run:
        return self.store.runs(entry_point)[0]

    def of_seed(self, seed: str) -> mlflow.entities.Run:
        return next(run for run in self.store.runs("train") if run.data.params["seed"] == seed)

    def mean(self) -> str:
        run = self.newest("mean")
        run_id = run.data.tags.get("phase.reused_run_id", run.info.run_id)
        return str(mlflow.artifacts.load_text(f"runs:/{run_id}/outputs/mean.txt"))

    def command(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "mlflow_plugin", *words], cwd=self.folder, capture_output=True, text=True
        )


PLAIN_MLPROJECT = """
name: seeds
entry_points:
  train:
    parameters: {{seed: {{type: int, default: 0}}, rate: {{type: float, default: 0.1}}}}
    command: "python train.py {{seed}}"
    phase: {{outputs: ["models/{{seed}}.txt"], ignore_reads: ["crash-*"], {train}}}
  mean:
    command: "python mean.py"
    phase: {{needs: [train], outputs: [mean.txt]}}
  main:
    pipeline: [mean]
    {main}
"""
PLAIN_TRAIN = """
import sys
from pathlib import Path
seed = sys.argv[1]
if Path(f"crash-{seed}").exists():
    sys.exit(1)
Path("models").mkdir(exist_ok=True)
Path(f"models/{seed}.txt").write_text(f"model {seed}")
"""
PLAIN_MEAN = """
from pathlib import Path
Path("mean.txt").write_text(", ".join(sorted(path.read_text() for path in Path("models").iterdir())))
"""


class PlainSeeds(Seeds):
    """The same with scripts that know nothing of the plugin, and hand over by files on the disk."""

    SCRIPTS: ClassVar = {"train": PLAIN_TRAIN, "mean": PLAIN_MEAN}
    MLPROJECT = PLAIN_MLPROJECT


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[PlainSeeds]:
    folder = tmp_path / "project"
    folder.mkdir()
    with temporary_store(tmp_path / "store") as store:
        yield PlainSeeds(folder, store)


@pytest.fixture
def seeds(tmp_path: Path) -> Iterator[Seeds]:
    folder = tmp_path / "project"
    folder.mkdir()
    with temporary_store(tmp_path / "store") as store:
        yield Seeds(folder, store)


def test_seeds_are_computed_once_and_a_later_phase_takes_all_of_them(seeds: Seeds) -> None:
    seeds.declare("matrix: {seed: [1, 0]}")
    main = seeds.run()
    assert sorted(seeds.new()) == [
        ("main", "FINISHED"),
        ("mean", "run"),
        ("prepare", "run"),
        ("train 0", "run"),
        ("train 1", "run"),
        ("train 1,0", "run"),
    ]
    assert seeds.mean() == "['1', '0']: ['model of seed 1 and 3 rows', 'model of seed 0 and 3 rows']"
    of_set = seeds.of_seed("1,0")
    assert of_set.data.tags["mlflow.parentRunId"] == main
    assert {seeds.of_seed(seed).data.tags["mlflow.parentRunId"] for seed in "01"} == {of_set.info.run_id}
    assert seeds.newest("mean").data.tags["phase.input.train"] == of_set.info.run_id

    seeds.run()
    assert seeds.new() == [("main", "FINISHED"), ("prepare", "reuse"), ("train 1,0", "reuse"), ("mean", "reuse")]


def test_what_concerns_one_seed_recomputes_that_seed_alone(plain: PlainSeeds) -> None:
    plain.run()
    plain.new()
    quarantined = plain.of_seed("1").info.run_id
    assert plain.command("quarantine", quarantined, "--reason", "bad data").returncode == 0
    plain.run()
    expected = [("train 0", "reuse"), ("train 1", "run"), ("train 2", "reuse"), ("mean", "run")]
    assert [one for one in plain.new() if one in expected] == expected

    plain.declare("matrix: {seed: [0, 1, 2, 3]}")
    plain.run()
    expected = [(f"train {seed}", "reuse") for seed in (0, 1, 2)] + [("train 3", "run"), ("mean", "run")]
    assert [one for one in plain.new() if one in expected] == expected
    assert (plain.folder / "mean.txt").read_text() == "model 0, model 1, model 2, model 3"

    plain.declare("matrix: {seed: [0, 1, 2]}")
    plain.run()
    assert (plain.folder / "mean.txt").read_text() == "model 0, model 1, model 2"
    (plain.folder / "models" / "2.txt").unlink()
    assert "train: the files of" in plain.command("checkout", "train").stdout
    assert (plain.folder / "models" / "2.txt").read_text() == "model 2"
    (plain.folder / "models" / "2.txt").unlink()
    (plain.folder / "models" / "3.txt").write_text("model 3")
    plain.run()
    assert plain.new()[-2:] == [("train 0,1,2", "reuse"), ("mean", "reuse")]
    assert sorted(path.name for path in (plain.folder / "models").iterdir()) == ["0.txt", "1.txt", "2.txt"]


def test_enough_good_runs_suffice_and_too_few_are_named(plain: PlainSeeds) -> None:
    (plain.folder / "crash-1").touch()
    with pytest.raises(PhaseError, match=r"(?s)train seed=1"):
        plain.run()
    assert ("train 0,1,2", "FAILED") in plain.new()

    plain.declare("matrix: {seed: [0, 1, 2]}, at_least: 2", main="jobs: 2")
    plain.run()
    assert (plain.folder / "mean.txt").read_text() == "model 0, model 2"
    assert plain.newest("mean").data.tags["phase.verdict"] == "run"
    assert "2 of 3 runs" in plain.of_seed("0,1,2").info.run_name

    (plain.folder / "crash-1").unlink()
    plain.new()
    plain.run()
    assert {("train 1", "run"), ("mean", "run")} <= set(plain.new())
