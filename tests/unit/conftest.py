"""Fixtures of the unit tests: what the machine has kept or installed does not reach them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlflow_plugin.project import digests


@pytest.fixture
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of a cache that holds nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield tmp_path / "cache" / "mlflow-phases"
    digests.flush()


@pytest.fixture
def nothing_installed(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the packages of this interpreter, and the shell's `PYTHONPATH`."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    ordinary = [entry for entry in sys.path if not entry.endswith(("site-packages", "dist-packages"))]
    monkeypatch.setattr(sys, "path", ordinary)
