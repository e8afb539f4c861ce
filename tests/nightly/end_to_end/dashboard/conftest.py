"""The fixtures of tests/end_to_end/dashboard."""

from tests.end_to_end.dashboard.conftest import browser, visit  # noqa: F401
