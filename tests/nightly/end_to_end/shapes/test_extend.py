"""Changes that do not extend a run.

Cheaper sibling: tests/end_to_end/shapes/test_extend.py, with a run that is extended.
"""

import pytest

from tests.end_to_end.shapes.test_extend import Longer

pytestmark = pytest.mark.end_to_end


def test_anything_else_starts_from_the_beginning(longer: Longer) -> None:
    longer.train()
    for given in ({"epochs": 2}, {"epochs": 4, "rate": 0.1}):
        assert longer.train(**given).startswith("0 1 ")
        assert longer.tag("phase.verdict") == "run"
    longer.edit("random.seed(4)")
    assert longer.train(epochs=6) == "0 1 2 3 4 5 "
