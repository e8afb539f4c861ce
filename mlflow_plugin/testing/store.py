"""Make tracking stores for tests."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from mlflow_plugin.store.mlflow_internals import close_connections, forget_active_experiment

_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""MLflow reads this variable where it would otherwise place artifacts below the working directory."""
_OF_A_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


@dataclass(frozen=True)
class TemporaryStore:
    """A tracking store in a folder: `mlflow.db`, and artifacts in `artifacts`. Made by `temporary_store`."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def runs(self, entry_point: str = "") -> list[Run]:
        """Return the runs of an entry point, or all, of the default experiment; the newest first."""
        wanted = f"tags.`mlflow.project.entryPoint` = '{entry_point}'" if entry_point else ""
        return list(self.client.search_runs(["0"], wanted, order_by=["attributes.start_time DESC"]))


@contextmanager
def temporary_store(folder: Path | str | None = None) -> Iterator[TemporaryStore]:
    """Put an empty tracking store in force, here and in child processes, and put the old one back at the end.

    Args:
        folder: where to make the store; it stays there. Without it a temporary folder is made, and removed at the end.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlflow-phases-"))
        store = TemporaryStore(Path(folder).resolve())
        store.folder.mkdir(parents=True, exist_ok=True)
        artifacts = str(store.folder / "artifacts")
        shutil.copyfile(empty_database(), store.folder / "mlflow.db")
        with closing(sqlite3.connect(store.folder / "mlflow.db")) as connection, connection:
            place = "UPDATE experiments SET artifact_location = ? || '/' || experiment_id"
            connection.execute(place, (artifacts,))
        stack.enter_context(patch.dict(os.environ, {"MLFLOW_TRACKING_URI": store.uri, _ARTIFACT_ROOT: artifacts}))
        for name in _OF_A_RUN:
            os.environ.pop(name, None)
        _forget_active_run()
        try:
            yield store
        finally:
            _forget_active_run()
            close_connections(store.uri)


def empty_database() -> Path:
    """Return an sqlite tracking database without runs, of the installed MLflow. Do not write into it.

    It is made at the first call, which takes seconds, and kept in the cache folder of the user.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlflow-phases" / "testing"
    template = cache / f"empty-{VERSION}.db"
    if not template.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = template.with_suffix(f".{os.getpid()}")
        MlflowClient(f"sqlite:///{unfinished}").search_experiments()
        close_connections(f"sqlite:///{unfinished}")
        unfinished.replace(template)  # Of processes that do so at once the last one wins; the files are alike.
    return template


def _forget_active_run() -> None:
    """Undo what `mlflow.start_run`, `set_experiment` and `set_tracking_uri` keep for the whole process."""
    while mlflow.active_run():
        mlflow.end_run()
    forget_active_experiment()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
