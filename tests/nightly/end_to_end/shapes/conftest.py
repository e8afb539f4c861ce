"""The fixtures of tests/end_to_end/shapes."""

from tests.end_to_end.shapes.conftest import by_disk  # noqa: F401
from tests.end_to_end.shapes.test_extend import longer  # noqa: F401
