"""Fixtures for tests with a temporary store."""

import pytest


@pytest.fixture
def ask_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask however cheap it is, for tests of questions whose runs take no time."""
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
