"""The fixtures of tests/end_to_end/stores/test_server.py."""

from tests.end_to_end.stores.test_server import served, server  # noqa: F401
