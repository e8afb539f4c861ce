"""Row 39: a parameter that is an artifact of an upstream phase, as in MLflow's own multistep example."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from mlflow_plugin.errors import UsageError
from mlflow_plugin.testing import TemporaryStore, temporary_store

pytestmark = pytest.mark.end_to_end
MLPROJECT = """
name: multistep
entry_points:
  load_raw_data:
    parameters: {{size: {{type: int, default: 3}}}}
    command: "python load.py {{size}}"
    phase: {{}}
  etl_data:
    parameters:
      ratings_csv: path
      max_row_limit: {{type: int, default: 100}}
    command: "python etl.py {{ratings_csv}} {{max_row_limit}}"
    phase:
      inputs: {{ratings_csv: {artifact}}}
  main:
    parameters: {{size: {{type: int, default: 3}}, max_row_limit: {{type: int, default: 100}}}}
    pipeline: [etl_data]
"""
LOAD = """
import sys
import tempfile
from pathlib import Path

import mlflow

with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
    Path(folder, "ratings.csv").write_text("\\n".join(f"row {number}" for number in range(int(sys.argv[1]))))
    mlflow.log_artifacts(folder, "ratings-csv-dir")
"""
ETL = """
import sys
from pathlib import Path

import mlflow

with mlflow.start_run():
    rows = Path(sys.argv[1], "ratings.csv").read_text().splitlines()[: int(sys.argv[2])]
    mlflow.log_metric("rows", len(rows))
    mlflow.log_text("\\n".join(rows), "etl.csv")
"""
ETL_IN_A_PHASE = """
import sys
from pathlib import Path

from mlflow_plugin import start_phase

with start_phase() as phase:
    assert phase.parameters["ratings_csv"] == sys.argv[1]
    phase.log(rows=len(Path(sys.argv[1], "ratings.csv").read_text().splitlines()))
"""


@dataclass
class Multistep:
    folder: Path
    store: TemporaryStore

    def declare(self, artifact: str = "load_raw_data/ratings-csv-dir") -> None:
        (self.folder / "MLproject").write_text(MLPROJECT.format(artifact=artifact))

    def run(self, entry_point: str = "main", **parameters: object) -> None:
        mlflow.projects.run(str(self.folder), entry_point, parameters=parameters, backend="phases", env_manager="local")


@pytest.fixture
def multistep(tmp_path: Path) -> Iterator[Multistep]:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "load.py").write_text(LOAD)
    (folder / "etl.py").write_text(ETL)
    with temporary_store(tmp_path / "store") as store:
        project = Multistep(folder, store)
        project.declare()
        yield project


def test_an_artifact_is_handed_down_as_a_path_and_another_run_of_its_phase_is_seen(multistep: Multistep) -> None:
    multistep.run()
    etl, load = multistep.store.runs("etl_data")[0], multistep.store.runs("load_raw_data")[0]
    assert etl.data.metrics["rows"] == 3
    assert etl.data.params["ratings_csv"] == f"runs:/{load.info.run_id}/ratings-csv-dir"
    assert etl.data.tags["phase.input.load_raw_data"] == load.info.run_id
    multistep.run()
    assert multistep.store.runs("etl_data")[0].data.tags["phase.verdict"] == "reuse"
    multistep.run(size=5)
    assert multistep.store.runs("etl_data")[0].data.metrics["rows"] == 5
    with pytest.raises(UsageError, match=r"ratings_csv is the artifact 'ratings-csv-dir' of load_raw_data, and cannot"):
        multistep.run("etl_data", ratings_csv=str(multistep.folder))
    path = f"{load.info.artifact_uri}/ratings-csv-dir"
    file = multistep.folder / "MLproject"
    file.write_text(
        file.read_text().replace("inputs: {ratings_csv: load_raw_data/ratings-csv-dir}", "needs: [load_raw_data]")
    )
    with pytest.raises(UsageError, match=r"an artifact of load_raw_data .* Write `inputs: {ratings_csv: load_"):
        multistep.run("etl_data", ratings_csv=path)


def test_a_script_that_holds_its_phase_gets_the_path_as_well(multistep: Multistep) -> None:
    (multistep.folder / "etl.py").write_text(ETL_IN_A_PHASE)
    multistep.run()
    assert multistep.store.runs("etl_data")[0].data.metrics["rows"] == 3


def test_an_artifact_that_is_not_there_is_said_before_anything_is_computed(multistep: Multistep) -> None:
    multistep.declare("load_raw_data/ratings")
    with pytest.raises(UsageError, match=r"artifact 'ratings' of load_raw_data, .* It has: ratings-csv-dir"):
        multistep.run()
    assert multistep.store.runs("etl_data")[0].info.status == "FAILED"


@pytest.mark.parametrize(
    ("artifact", "problem"),
    [
        ("none/x", "'none' is not a phase of this file"),
        ("load_raw_data", "'load_raw_data' names no artifact of a phase"),
        ("load_raw_data/../x", "names no artifact of a phase"),
        ("/x", "names no artifact of a phase"),
    ],
)
def test_an_input_that_names_no_artifact_is_refused(multistep: Multistep, artifact: str, problem: str) -> None:
    multistep.declare(artifact)
    with pytest.raises(UsageError, match=problem):
        multistep.run()
