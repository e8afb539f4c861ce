"""Traces of runs: an artifact of each run, named by a tag with its digest, and a copy in this machine's cache.

The copy saves a verdict the artifact store. It is advisory: without it the artifact is fetched again.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.observation.readable import readable
from mlflow_plugin.observation.trace import Trace
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import artifact_bytes
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import dumps, user

_logger = logging.getLogger(__name__)

_MOST_BYTES = 100_000_000
_COPIES = 1000
_DECODED = 4
_recent: dict[str, Trace] = {}
"""The traces that this process has decoded last: a phase is decided several times, a pipeline's each."""


def keep_trace(client: MlflowClient, run_id: str, trace: Trace) -> None:
    """Upload a run's trace, then name it in a tag: a tag without its artifact is never seen.

    Raises:
        MlflowException: The store does not answer.
    """
    content = trace.to_json()
    digest = hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(schema.READS_FILE).name
        file.write_bytes(content)
        client.log_artifact(run_id, str(file), str(Path(schema.READS_FILE).parent))
    _keep_copy(digest, content)
    entry = {"sha256": digest, "coverage": trace.coverage, "files": trace.file_count, "user": user()}
    steps = {readable(call.name): [result.run_id for result in call.results.values()] for call in trace.calls}
    if steps and len(dumps(steps)) <= schema.TAG_LENGTH:
        client.set_tag(run_id, schema.STEPS, dumps(steps))
    client.set_tag(run_id, schema.READS, dumps(entry))


def trace_of_run(run: PhaseRun) -> Trace | None:
    """Return the trace of a run; None for a run without one.

    Raises:
        PhaseError: The artifact is gone or malformed, or the store does not answer.
    """
    digest = _digest(run.reads)
    if digest is None:
        return None
    if digest in _recent:
        return _recent[digest]
    content = _copy(digest)
    if content is None:
        content = artifact_bytes(run, schema.READS_FILE, _MOST_BYTES)
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            raise PhaseError(f"the record of what {run.phase} {run.short} read is gone or damaged")
        _keep_copy(digest, content)
    try:
        trace = Trace.from_json(content)
    except ValueError as error:
        raise PhaseError(f"the record of what {run.phase} {run.short} read is malformed: {error}") from None
    if len(_recent) >= _DECODED:
        _recent.clear()
    _recent[digest] = trace
    return trace


def is_own_trace(run: PhaseRun) -> bool:
    """Return whether this user made a run and its trace: what it read elsewhere is then compared unasked."""
    return str(run.reads.get("user") or run.user) == user()


def trace_digest(run: PhaseRun) -> str:
    """Return the digest of a run's trace, empty for a run without one."""
    return _digest(run.reads) or ""


def _digest(entry: Mapping[str, Any]) -> str | None:
    digest = entry.get("sha256")
    valid = isinstance(digest, str) and len(digest) == 64 and not set(digest) - set("0123456789abcdef")
    return str(digest) if valid else None


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlflow-phases" / "traces"


def _copy(digest: str) -> bytes | None:
    try:
        return (_folder() / digest).read_bytes()
    except OSError:
        return None


def _keep_copy(digest: str, content: bytes) -> None:
    with suppress(OSError):
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(content)
        os.replace(file.name, folder / digest)
        copies = sorted(folder.iterdir(), key=lambda one: one.stat().st_mtime)
        for outdated in copies[:-_COPIES]:
            outdated.unlink()
