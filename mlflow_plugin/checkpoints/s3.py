"""Uploads to S3 that are checked by checksum: the server refuses bytes that differ from what was sent, and afterwards
says what it holds.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from mlflow_plugin.store.mlflow_internals import s3_client

_MEGABYTE = 1 << 20
_PART_BYTES = 8 * _MEGABYTE
_MOST_PARTS = 9_000


def upload_checked(repository: S3ArtifactRepository, file: Path, folder: str, sha256: str) -> str:
    """Uploads a file into a folder of the artifacts, in parts when it is large; returns what is wrong with what the
    server then says it holds, empty when it is the file. `sha256` is the file's, 64 hex digits.

    Raises what boto3 raises.
    """
    from boto3.s3.transfer import TransferConfig

    client = s3_client(repository)
    bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
    key, size = f"{root}/{folder}/{file.name}", file.stat().st_size
    # S3 takes 10,000 parts at most; boto3 must not choose the parts itself, since the checksum depends on them.
    part = max(_PART_BYTES, -(-size // _MOST_PARTS // _MEGABYTE) * _MEGABYTE)
    client.upload_file(
        str(file),
        bucket,
        key,
        ExtraArgs={**(repository.get_s3_file_upload_extra_args() or {}), "ChecksumAlgorithm": "SHA256"},
        Config=TransferConfig(multipart_threshold=part, multipart_chunksize=part),
    )
    held: dict[str, Any] = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    if held["ContentLength"] != size:
        return f"{file.name} has {held['ContentLength']} bytes there instead of {size}"
    expected = _base64(bytes.fromhex(sha256)) if size < part else _of_parts(file, part)
    # Some servers keep no checksums; they have compared the one that was sent, and the size is right.
    if held.get("ChecksumSHA256", expected) != expected:
        return f"{file.name} has another checksum there than here"
    return ""


def _of_parts(file: Path, part: int) -> str:
    """The checksum of an object uploaded in parts: https://docs.aws.amazon.com/AmazonS3/latest/userguide/
    checking-object-integrity-upload.html (composite checksums).
    """
    digests = []
    with file.open("rb") as content:
        while chunk := content.read(part):
            digests.append(hashlib.sha256(chunk).digest())
    return f"{_base64(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
