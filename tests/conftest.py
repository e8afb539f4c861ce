"""Fixtures for every test, and the isolation of every test from the machine that it runs on."""

import logging
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.budgets import pytest_terminal_summary  # noqa: F401
from tests.servers.fixtures import bucket, postgres, postgres_uri, s3, stores  # noqa: F401

if TYPE_CHECKING:
    from simulation import Simulation

# MLflow reads this where it would otherwise place artifacts under the working directory, which here is the repository.
ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
ACTIVE_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")

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
    from tests.servers.stores import make_empty_database

    return make_empty_database(Path(os.environ["XDG_CACHE_HOME"]) / "template.db")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_database: Path) -> Iterator[str]:
    """Yield the URI of an empty sqlite tracking store with local artifacts, in force here and in child processes."""
    folder = tmp_path / "store"
    folder.mkdir()
    database, artifacts = folder / "mlflow.db", folder / "artifacts"
    shutil.copyfile(empty_database, database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = ? || '/' || experiment_id", (str(artifacts),))

    _forget_active_store()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
    monkeypatch.setenv(ARTIFACT_ROOT, str(artifacts))
    yield f"sqlite:///{database}"
    _forget_active_store()
    _close_connections(f"sqlite:///{database}")


def _close_connections(uri: str) -> None:
    """MLflow keeps those of every store that it ever opened; after hundreds of tests they are more than a process may
    have.
    """
    if module := sys.modules.get("mlflow.store.tracking.sqlalchemy_store"):
        engine = module.SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()


def _forget_active_store() -> None:
    """Undo what `mlflow.start_run`, `set_experiment` and `set_tracking_uri` keep for the whole process."""
    if "mlflow" in sys.modules:
        import mlflow

        while mlflow.active_run():
            mlflow.end_run()
        mlflow.tracking.fluent._active_experiment_id = None
        mlflow.set_tracking_uri(None)
    for name in ACTIVE_RUN:
        os.environ.pop(name, None)


@pytest.fixture
def demo(tmp_path: Path, store: str) -> "Simulation":
    """Return a project of the phases collect, train and evaluate, with an empty store."""
    from simulation import Simulation

    return Simulation(tmp_path / "demo", store)
