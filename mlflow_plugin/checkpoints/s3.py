"""Upload files to S3 and verify them by checksum.

Written here because MLflow's S3 repository does not ask the server after an upload for the size and checksum it stored.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

from mlflow_plugin.store.mlflow_internals import s3_client

_MEGABYTE = 1 << 20
_PART_BYTES = 8 * _MEGABYTE
_MAX_PARTS = 9_000


def upload_checked(repository: S3ArtifactRepository, file: Path, folder: str, sha256: str) -> str:
    """Upload a file into a folder of the artifacts, in parts when it is large, and compare size and checksum.

    Args:
        repository: MLflow's repository of the run's artifacts.
        file: The local file.
        folder: The target folder, relative to the artifacts.
        sha256: The file's digest, 64 hex digits. The server rejects an upload whose bytes differ.

    Returns:
        How the stored object differs from the file, empty when it does not.

    Raises:
        botocore.exceptions.ClientError: S3 rejected the upload. Other errors of boto3 pass as well.
    """
    from boto3.s3.transfer import TransferConfig

    client = s3_client(repository)
    bucket, root = repository.parse_s3_compliant_uri(repository.artifact_uri)
    key, size = f"{root}/{folder}/{file.name}", file.stat().st_size
    # S3 allows at most 10,000 parts. The checksum depends on the size of the parts, so boto3 must not choose it.
    part = max(_PART_BYTES, -(-size // _MAX_PARTS // _MEGABYTE) * _MEGABYTE)
    client.upload_file(
        str(file),
        bucket,
        key,
        ExtraArgs={**(repository.get_s3_file_upload_extra_args() or {}), "ChecksumAlgorithm": "SHA256"},
        Config=TransferConfig(multipart_threshold=part, multipart_chunksize=part),
    )
    stored: dict[str, Any] = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    if stored["ContentLength"] != size:
        return f"{file.name} has {stored['ContentLength']} bytes in S3 instead of {size}"
    expected = _base64(bytes.fromhex(sha256)) if size < part else _composite_checksum(file, part)
    # Some servers keep no checksums. They have compared the one that was sent, and the size is right.
    if stored.get("ChecksumSHA256", expected) != expected:
        return f"{file.name} has another checksum in S3 than on this machine"
    return ""


def _composite_checksum(file: Path, part: int) -> str:
    """Return the composite checksum of an object that is uploaded in parts of `part` bytes.

    The digest of the parts' digests: https://docs.aws.amazon.com/AmazonS3/latest/userguide/
    checking-object-integrity-upload.html.
    """
    digests = []
    with file.open("rb") as content:
        while chunk := content.read(part):
            digests.append(hashlib.sha256(chunk).digest())
    return f"{_base64(hashlib.sha256(b''.join(digests)).digest())}-{len(digests)}"


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
