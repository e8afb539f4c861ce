"""Change rows on projects of the four shapes that real MLflow projects have, with nothing but keys added to them.

tests/nightly/end_to_end/shapes has all rows, on the same projects with steps that read more.
"""

import pytest

from benchmarks.change_rows import ROWS
from tests.end_to_end.four_shapes.changes import CHANGES, UPSTREAM, Change, check_plan
from tests.end_to_end.four_shapes.procedures import (
    LEFT_OUT,
    NOWHERE,
    PROCEDURES,
    back_again,
)
from tests.end_to_end.four_shapes.projects import LIGHT, SHAPES
from tests.end_to_end.four_shapes.shaped import Shaped
from tests.end_to_end.project_folder import ProjectFolder

pytestmark = pytest.mark.end_to_end

HERE = ("data.csv", "conf/model/small.yaml", "a middle step's script", "the last step's script", "a comment")
every_shape = pytest.mark.parametrize("name", LIGHT)


@pytest.fixture
def shaped(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> Shaped:
    """Return the project of a shape after its first run, with steps that read little."""
    return Shaped(LIGHT[name], project, monkeypatch).finished()


@every_shape
@pytest.mark.parametrize(
    "change", [*(one for one in CHANGES if one.title in HERE), UPSTREAM], ids=lambda change: change.name
)
def test_a_change_is_seen_by_the_steps_that_it_concerns(shaped: Shaped, name: str, change: Change) -> None:
    check_plan(shaped, change)


# Each script of by_artifact imports MLflow; tests/nightly has it.
@pytest.mark.parametrize("name", [name for name in LIGHT if name != "by_artifact"])
def test_parameters_there_and_back_again_evaluate_the_right_model(shaped: Shaped, name: str) -> None:
    back_again(shaped)


@pytest.mark.parametrize("name", ["by_disk"])
def test_more_epochs_go_on_from_the_shorter_run(shaped: Shaped, name: str) -> None:
    PROCEDURES["45: extended"](shaped)


@every_shape
def test_only_keys_are_added_to_a_stock_project(name: str) -> None:
    shape = SHAPES[name]
    added = {key for keys in shape.keys.values() for key in keys}
    assert added <= {"phase", "pipeline"}
    assert all("mlflow_plugin" not in text for text in (*shape.files.values(), *shape.mlprojects().values()))
    assert set(shape.mlprojects()) == set(shape.mlprojects(with_keys=False))


def test_every_row_is_there_and_one_that_a_shape_lacks_has_a_reason() -> None:
    rows = {row.number for row in ROWS} | {"20", "38", "39", "41", "42", "42a", "43", "44", "45"}
    assert rows == {change.row for change in CHANGES} | {row.partition(":")[0] for row in PROCEDURES} | {*NOWHERE}
    for name in SHAPES:
        reasons = [change.left_out[name] for change in CHANGES if name in change.left_out]
        reasons += [reason for (row, shape), reason in LEFT_OUT.items() if shape == name and row in PROCEDURES]
        assert all(reasons)
        assert len(reasons) < 6
