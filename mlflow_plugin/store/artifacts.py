"""Files in the artifact store: list them and read them, and say when the store is away."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.store.mlflow_internals import download_artifact
from mlflow_plugin.store.run import PhaseRun


def local_folder(artifact_uri: str) -> Path | None:
    """Return the folder behind an artifact URI of a local store; None for a remote one."""
    # `mlflow-artifacts:/...`, which a server hands out, has a scheme but no host. One letter is a drive.
    if artifact_uri.startswith("file:") or not re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", artifact_uri):
        return Path(local_file_uri_to_path(artifact_uri))
    return None


def unreachable(where: str, error: Exception) -> PhaseError:
    """Return the error for a store that does not answer for an address."""
    return PhaseError(
        f"the artifact store does not answer for {where}: {' '.join(str(error).split())[:300]}. "
        "Nothing was changed; try again when it is back."
    )


def listing(artifact_uri: str, folder: str = "") -> dict[str, int]:
    """Return the size in bytes of every file below a folder, by relative path. Raises PhaseError when the store is
    away.
    """
    if not artifact_uri:  # Nonsense was in its place; an empty path would be the present folder.
        return {}
    local = local_folder(artifact_uri)
    if local is not None:
        return dict(_local_listing(local / folder))
    repository, sizes, pending = get_artifact_repository(artifact_uri), {}, [folder or None]
    while pending:
        where = pending.pop()
        try:
            entries = repository.list_artifacts(where)
        except (MlflowException, OSError) as error:
            raise unreachable(f"{artifact_uri}/{where or ''}", error) from None
        for entry in entries:
            if entry.is_dir:
                pending.append(entry.path)
            else:
                sizes[entry.path.removeprefix(f"{folder}/") if folder else entry.path] = int(entry.file_size or 0)
    return sizes


def _local_listing(root: Path) -> Iterator[tuple[str, int]]:
    """Yield name and size of every file below a folder; nothing for one that is not there. Links to folders are left
    out.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            entries = list(os.scandir(root / prefix))
        except OSError:
            continue
        for entry in entries:
            if not entry.is_dir():
                yield prefix + entry.name, entry.stat().st_size
            elif not entry.is_symlink():
                pending.append(f"{prefix}{entry.name}/")


def absent_root(run: PhaseRun) -> Path | None:
    """Return the local folder that holds the artifacts of all runs, when it is missing or empty on this machine.

    Then nothing is known about the run's files: the disk may be unmounted, or the folder have been moved.
    """
    local = local_folder(run.artifact_uri)
    if local is None or local.name != "artifacts" or local.parent.exists():
        return None
    root = local.parent.parent
    with suppress(OSError):
        return None if any(root.iterdir()) else root
    return root


def artifact_text(run: PhaseRun, path: str, at_most: int) -> str | None:
    """Return an artifact as text; None when it is absent or has more than `at_most` bytes, which are not fetched.

    Raises:
        PhaseError: The store does not answer.
    """
    content = artifact_bytes(run, path, at_most)
    return None if content is None else content.decode("utf-8", errors="replace")


def artifact_bytes(run: PhaseRun, path: str, at_most: int) -> bytes | None:
    """Return the bytes of an artifact. Otherwise as `artifact_text`."""
    folder, _, name = path.rpartition("/")
    try:
        size = listing(run.artifact_uri, folder).get(name)
        if size is None or size > at_most:
            return None
        with tempfile.TemporaryDirectory() as target:
            local = local_folder(run.artifact_uri)
            file = Path(target) / "artifact" if local is None else local / path
            if local is None:
                download_artifact(get_artifact_repository(run.artifact_uri), path, str(file))
            return file.read_bytes()
    except PhaseError:
        raise
    except Exception as error:  # As many kinds as there are stores.
        raise unreachable(f"{run.artifact_uri}/{path}", error) from None
