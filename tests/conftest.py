"""Fixtures for every test, and the isolation of every test from the machine that it runs on."""

import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.budgets import pytest_runtest_makereport, pytest_runtest_setup, pytest_terminal_summary  # noqa: F401
from tests.servers.fixtures import bucket, postgres, postgres_uri, s3, stores  # noqa: F401

if TYPE_CHECKING:
    from simulation import Simulation

_CACHE = pytest.StashKey[str]()


def _isolate() -> None:
    """Forget what the shell says about stores, runs, phases and accelerators. Child processes inherit the result."""
    for name in list(os.environ):
        if name.lstrip("_").startswith(("MLFLOW_", "PHASE_")):
            del os.environ[name]
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        HF_HUB_OFFLINE="1",
        MPLBACKEND="Agg",
        OMP_NUM_THREADS="1",
        TOKENIZERS_PARALLELISM="false",
    )


# At import, before any test module can import a library that reads its settings once.
_isolate()

# An example may take long on a busy machine; a test that hangs is ended by pytest-timeout.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a cache folder of its own. Parallel workers get it through the environment."""
    if not hasattr(config, "workerinput"):
        config.stash[_CACHE] = tempfile.mkdtemp(prefix="mlflow-phases-tests-")
        os.environ["XDG_CACHE_HOME"] = config.stash[_CACHE]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the session's servers and remove its cache folder."""
    if _CACHE in config.stash:
        if Path(config.stash[_CACHE], "servers").exists():
            from tests.servers.shared import end_shared

            end_shared()
        shutil.rmtree(config.stash[_CACHE], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Keep the imported libraries out of every later search for unreachable objects: it takes half a second there."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def terminal() -> Iterator[None]:
    """Show the package's messages on standard error, as every command does, and leave logging as it was found."""
    from mlflow_plugin.progress import attach_terminal_handler

    logger = logging.getLogger("mlflow_plugin")
    before = (logger.level, logger.propagate, list(logger.handlers))
    attach_terminal_handler()
    yield
    level, logger.propagate, logger.handlers = before
    logger.setLevel(level)


@pytest.fixture(scope="session")
def empty_database() -> Path:
    """Return an sqlite tracking database without runs. Making one takes more than a second, copying it nothing."""
    from mlflow_plugin.testing.store import empty_database

    return empty_database()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """Yield the URI of an empty sqlite tracking store with local artifacts, in force here and in child processes."""
    from mlflow_plugin.testing import temporary_store

    with temporary_store(tmp_path / "store") as here:
        yield here.uri


@pytest.fixture
def demo(tmp_path: Path, store: str) -> "Simulation":
    """Return a project of the phases collect, train and evaluate, with an empty store."""
    from simulation import Simulation

    return Simulation(tmp_path / "demo", store)


@pytest.fixture
def ask_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask however cheap it is, for tests of questions whose runs take no time."""
    monkeypatch.setenv("MLFLOW_PHASES_ASK_ABOVE", "0")
