"""Fixtures with real servers. Imported by tests/conftest.py, so that every test can."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.servers.postgres import Postgres
    from tests.servers.s3 import S3
    from tests.servers.stores import Store


@pytest.fixture(scope="session")
def postgres() -> "Postgres":
    """The session's PostgreSQL."""
    from tests.servers.postgres import Postgres
    from tests.servers.shared import shared

    return shared(Postgres)


@pytest.fixture
def postgres_uri(postgres: "Postgres") -> str:
    """The URI of an empty PostgreSQL database, as a tracking store."""
    return postgres.create_database(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def s3() -> "S3":
    """The session's S3."""
    from tests.servers.s3 import S3
    from tests.servers.shared import shared

    return shared(S3)


@pytest.fixture
def bucket(s3: "S3", monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an empty bucket, with the variables in force by which MLflow and boto3 find it."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return s3.create_bucket(f"test-{uuid.uuid4().hex[:12]}")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> "Iterator[Callable[[str], Store]]":
    """Return a function that gives the store of a kind (see `tests.servers.stores.STORES`), opened at first
    use. All tests of a worker share it, each in an experiment of its own.
    """
    from tests.servers.stores import open_store

    opened: dict[str, Store] = {}
    with ExitStack() as stack:

        def of_kind(name: str) -> "Store":
            if name not in opened:
                folder = tmp_path_factory.mktemp(name)
                opened[name] = stack.enter_context(open_store(name, folder, empty_database))
            return opened[name]

        yield of_kind
