"""The change rows that take several steps, on projects of the four shapes.

Cheaper sibling: tests/end_to_end/shapes/test_change_rows.py, with some of the rows.
"""

import pytest

from tests.end_to_end.four_shapes.procedures import LEFT_OUT, MADE_HERE, PROCEDURES
from tests.end_to_end.four_shapes.projects import LIGHT
from tests.end_to_end.four_shapes.shaped import Shaped
from tests.end_to_end.project_folder import ProjectFolder

pytestmark = pytest.mark.end_to_end


@pytest.mark.parametrize("row", PROCEDURES)
@pytest.mark.parametrize("name", LIGHT)
def test_a_row(project: ProjectFolder, monkeypatch: pytest.MonkeyPatch, name: str, row: str) -> None:
    if reason := LEFT_OUT.get((row, name)):
        pytest.skip(reason)
    shaped = Shaped(LIGHT[name], project, monkeypatch)
    shaped.build() if (row, name) in MADE_HERE else shaped.finished()
    PROCEDURES[row](shaped)
