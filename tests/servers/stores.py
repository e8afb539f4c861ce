"""The stores that nothing may be lost on: where runs are recorded and where their files lie, as people set them up."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3
from tests.servers.shared import shared
from tests.servers.tracking import TrackingServer


class FolderFiles:
    """Files below a folder, by relative path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def paths(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def read(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # it may be read-only, or another name of the same file
        target.write_bytes(content)

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()


class BucketFiles:
    """Objects of a bucket below a prefix, by relative path."""

    def __init__(self, server: S3, bucket: str, prefix: str = "") -> None:
        self._client, self._bucket, self._prefix = server.client(), bucket, prefix

    def paths(self) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        return sorted(one["Key"].removeprefix(self._prefix) for page in pages for one in page.get("Contents", []))

    def read(self, path: str) -> bytes:
        found: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)["Body"].read()
        return found

    def write(self, path: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + path, Body=content)

    def remove(self, path: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + path)

    def etag(self, path: str) -> str:
        """S3's digest of an object; `-N` at its end means N parts."""
        return str(self._client.head_object(Bucket=self._bucket, Key=self._prefix + path)["ETag"]).strip('"')


@dataclass(frozen=True)
class Store:
    """A tracking store with its artifact store. `variables` is what a process needs to use it."""

    name: str
    variables: Mapping[str, str]
    files: Callable[[str], FolderFiles | BucketFiles]
    """The artifacts of a run as they lie there, past MLflow."""
    location: str = ""
    """Where new experiments keep their artifacts; empty when the server decides."""
    server: TrackingServer | None = None
    remote_port: int = 0
    """Where the artifacts come from over the network, 0 for a local folder."""
    endpoint: str = field(default="")
    """The variable that names that place."""

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.variables["MLFLOW_TRACKING_URI"])

    def new_experiment(self) -> str:
        name = f"trial-{uuid.uuid4().hex[:12]}"
        return str(self.client.create_experiment(name, f"{self.location}/{name}" if self.location else None))

    def through(self, proxy: Proxy) -> "Store":
        """The same store, its artifacts behind a proxy to `remote_port`."""
        return replace(self, variables={**self.variables, self.endpoint: proxy.url})


STORES = ("local", "server", "s3", "server-s3")
"""sqlite with local files; `mlflow server` on sqlite with proxied artifacts in a folder; PostgreSQL with S3 directly;
`mlflow server` on PostgreSQL with proxied artifacts in S3."""
REMOTE = tuple(name for name in STORES if name != "local")


@contextmanager
def open_store(name: str, folder: Path, empty_database: Path) -> Iterator[Store]:
    """A new, empty store of a kind; its tracking server, where it has one, is stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "local":
        database = folder / "mlflow.db"
        database.write_bytes(empty_database.read_bytes())
        root = folder / "artifacts"
        yield Store(name, {"MLFLOW_TRACKING_URI": f"sqlite:///{database}"}, _folder_of_run(root), str(root))
        return
    if name == "server":
        with _running(TrackingServer(folder, empty_database)) as server:
            yield _served(name, server, {}, _folder_of_run(folder / "artifacts"))
        return
    unique = f"{name}-{uuid.uuid4().hex[:12]}"
    s3, postgres = shared(S3), shared(Postgres)
    database_uri, bucket = postgres.create_database(unique), s3.create_bucket(unique)
    if name == "s3":
        variables = {**s3.environment(), "MLFLOW_TRACKING_URI": database_uri}
        files = _bucket_of_run(s3, bucket)
        yield Store(name, variables, files, f"s3://{bucket}", None, s3.ports[6], "MLFLOW_S3_ENDPOINT_URL")
        return
    assert name == "server-s3", f"there is no store {name}; choose one of {', '.join(STORES)}"
    with _running(TrackingServer(folder, database_uri, f"s3://{bucket}", s3.environment())) as server:
        yield _served(name, server, {}, _bucket_of_run(s3, bucket))


def _served(
    name: str, server: TrackingServer, variables: dict[str, str], files: Callable[[str], FolderFiles | BucketFiles]
) -> Store:
    variables = {**variables, "MLFLOW_TRACKING_URI": server.url}
    return Store(name, variables, files, "", server, server.port, "MLFLOW_TRACKING_URI")


@contextmanager
def _running(server: TrackingServer) -> Iterator[TrackingServer]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _folder_of_run(root: Path) -> Callable[[str], FolderFiles]:
    def files(run_id: str) -> FolderFiles:
        found = list(root.glob(f"*/{run_id}/artifacts"))
        return FolderFiles(found[0] if found else root / "none" / run_id)

    return files


def _bucket_of_run(s3: S3, bucket: str) -> Callable[[str], BucketFiles]:
    def files(run_id: str) -> BucketFiles:
        whole = BucketFiles(s3, bucket)
        found = [path.split("/artifacts/")[0] for path in whole.paths() if f"/{run_id}/artifacts/" in path]
        return BucketFiles(s3, bucket, f"{found[0]}/artifacts/" if found else f"none/{run_id}/")

    return files
