"""Every change row on projects of the four shapes: the verdict on each change, and all of them computed together.

Cheaper sibling: tests/end_to_end/shapes/test_change_rows.py, with some of the rows.
"""

import pytest

from tests.end_to_end.four_shapes.changes import ALONE, CHANGES, NOTHING, UPSTREAM, Change, check, check_plan
from tests.end_to_end.four_shapes.projects import SHAPES
from tests.end_to_end.four_shapes.shaped import Shaped
from tests.end_to_end.project_folder import ProjectFolder

pytestmark = pytest.mark.end_to_end

every_shape = pytest.mark.parametrize("name", SHAPES)
TOGETHER = [change for change in CHANGES if change.title not in ALONE]


@pytest.fixture
def shaped(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, name: str) -> Shaped:
    return Shaped(SHAPES[name], project, monkeypatch).finished()


@every_shape
@pytest.mark.parametrize("change", [*CHANGES, UPSTREAM], ids=lambda change: change.name)
def test_each_change_is_seen_where_it_counts(shaped: Shaped, name: str, change: Change) -> None:
    if name in change.left_out:
        pytest.skip(change.left_out[name])
    check_plan(shaped, change)


@every_shape
def test_all_changes_of_a_step_are_computed_and_reach_the_evaluation(shaped: Shaped, name: str) -> None:
    for computed in sorted({change.computed for change in TOGETHER if change.computed}):
        check(shaped, *(one for one in TOGETHER if one.computed == computed and name not in one.left_out))


@every_shape
def test_nothing_is_computed_after_all_changes_that_do_not_count(shaped: Shaped, name: str) -> None:
    check(shaped, *(change for change in TOGETHER if change.computed == NOTHING and not change.main))
