"""Files of the project put in place on MLflow's local backend.

Cheaper siblings, by `-b phases`: the tests of tests/end_to_end/shapes/test_hand_over_by_disk.py.
"""

import shutil

import pytest

from tests.end_to_end.shapes.conftest import ByDisk
from tests.end_to_end.shapes.test_hand_over_by_disk import FIRST

pytestmark = pytest.mark.end_to_end


def test_both_routes_put_the_files_in_place(by_disk: ByDisk) -> None:
    for name in ("prepare", "train"):
        script = by_disk.folder / f"{name}.py"
        body = "".join(f"    {line}\n" for line in script.read_text().strip().splitlines())
        script.write_text(f"from mlflow_plugin import start_phase\n\nwith start_phase():\n{body}")
    by_disk.run_plainly("prepare")
    by_disk.run_plainly("prepare", seed=1)
    shutil.rmtree(by_disk.folder / "data")
    by_disk.run_plainly("train")
    assert by_disk.files()["models/model.txt"] == FIRST.replace("seed 0", "seed 1").replace("part-0", "part-1")
