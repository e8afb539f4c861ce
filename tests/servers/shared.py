"""Servers that serve all workers of a test session: the first that needs one starts it, the session's end ends it."""

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TypeVar

import pytest

from tests.servers.postgres import Postgres
from tests.servers.s3 import S3

Server = TypeVar("Server", Postgres, S3)


def _folder() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "servers"


def shared(kind: type[Server]) -> Server:
    """The session's server of a kind. Where it cannot run the test is skipped, saying why, or fails when CI is set."""
    if reason := kind.unavailable():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{kind.__name__} cannot be started: {reason}")
    folder = _folder() / kind.__name__
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / "running.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not described.exists():
            # Apart from the session's folder, which nobody else may enter: PostgreSQL may have to run as another user.
            server = kind(Path(tempfile.mkdtemp(prefix=f"mlflow-phases-{kind.__name__.lower()}-")))
            server.start()
            described.write_text(json.dumps(server.describe()))
    return kind.found(json.loads(described.read_text()))


def end_shared() -> None:
    """End what the session started. Called once, when no worker is left."""
    for kind in (Postgres, S3):
        described = _folder() / kind.__name__ / "running.json"
        if described.exists():
            server = json.loads(described.read_text())
            kind.end(server)
            shutil.rmtree(server["folder"], ignore_errors=True)
