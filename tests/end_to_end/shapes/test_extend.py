"""Row 45: a larger value of a parameter under `extend:` goes on from the end of the shorter run."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from mlflow_plugin.testing import TemporaryStore, temporary_store

pytestmark = pytest.mark.end_to_end
MLPROJECT = """
name: longer
entry_points:
  train:
    parameters:
      epochs: {type: int, default: 3}
      rate: {type: float, default: 0.5}
    command: "python train.py"
    phase: {extend: [epochs]}
"""
TRAIN = """
import random

from mlflow_plugin import start_phase

with start_phase() as phase:
    state = {"weights": [1.0], "seen": []}
    for epoch in phase.steps(phase.parameters["epochs"], state):
        open("epochs.txt", "a").write(f"{epoch} ")
        state["weights"][0] += phase.parameters["rate"] * random.random()
        state["seen"].append(epoch)
        phase.log({"weight": state["weights"][0]})
    phase.output("weights.txt", lambda path: path.write_text(repr(state)))
"""


class Longer:
    def __init__(self, folder: Path, store: TemporaryStore) -> None:
        self.folder, self.store = folder, store
        (folder / "MLproject").write_text(MLPROJECT)
        self.edit("random.seed(3)")

    def edit(self, text: str) -> None:
        (self.folder / "train.py").write_text(TRAIN.replace("import random\n", f"import random\n\n{text}\n"))

    def train(self, **parameters: object) -> str:
        """Train, and return the epochs that were computed for it."""
        (self.folder / "epochs.txt").write_text("")
        mlflow.projects.run(str(self.folder), "train", parameters=parameters, backend="phases", env_manager="local")
        return (self.folder / "epochs.txt").read_text()

    def tag(self, name: str) -> str:
        return str(self.store.runs("train")[0].data.tags.get(name, ""))

    def result(self) -> str:
        return mlflow.artifacts.load_text(f"runs:/{self.store.runs('train')[0].info.run_id}/outputs/weights.txt")


@pytest.fixture
def longer(tmp_path: Path) -> Iterator[Longer]:
    folder = tmp_path / "project"
    folder.mkdir()
    with temporary_store(tmp_path / "store") as store:
        yield Longer(folder, store)


def test_more_epochs_go_on_from_the_end_of_the_shorter_run_as_if_it_had_been_trained_at_once(longer: Longer) -> None:
    assert longer.train() == "0 1 2 "
    short = longer.store.runs("train")[0]
    assert longer.train(epochs=5) == "3 4 "
    assert longer.tag("phase.verdict") == "resume"
    assert longer.tag("phase.resumed_from") == short.info.run_id
    assert "goes on from step-000003 of train" in longer.tag("phase.reason")
    assert "(epochs 3 -> 5), which stays as it is" in longer.tag("phase.reason")
    extended, run_id = longer.result(), longer.store.runs("train")[0].info.run_id
    curve = [(one.step, one.value) for one in longer.store.client.get_metric_history(run_id, "weight")]
    assert [step for step, _ in curve] == [0, 1, 2, 3, 4]
    assert longer.store.client.get_run(short.info.run_id).to_dictionary() == short.to_dictionary()
    assert longer.train() == ""
    assert longer.tag("phase.reused_run_id") == short.info.run_id
    assert longer.train(epochs=5) == ""
    assert longer.tag("phase.reused_run_id") == run_id
    longer.train(epochs=5, decide="rerun")
    assert longer.result() == extended
