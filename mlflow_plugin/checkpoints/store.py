"""Store the checkpoints of one run among its artifacts: `checkpoints/step-000100/`, the manifest written last."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_plugin.checkpoints.files import sync
from mlflow_plugin.checkpoints.staging import temporary_folder
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.progress import report_periodically
from mlflow_plugin.store import schema
from mlflow_plugin.store.artifacts import listing, local_folder
from mlflow_plugin.store.manifest import FileEntry, Manifest, safe_relative_path

if TYPE_CHECKING:
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository

_NAME = re.compile(r"step-(\d{6,})")


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint after `step` steps. Names are compared as numbers, so they may get longer.

    >>> checkpoint_name(100)
    'step-000100'
    """
    return f"step-{step:06d}"


def checkpoint_step(name: str) -> int | None:
    """Return the step of a checkpoint's name, None for any other name.

    >>> checkpoint_step("step-000100")
    100
    """
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def checkpoint_folders(paths: Iterable[str]) -> list[str]:
    """Return the names of checkpoints among the first components of paths, each once, by rising step."""
    folders = {path.split("/", 1)[0] for path in paths}
    steps = {name: step for name in folders if (step := checkpoint_step(name)) is not None}
    return sorted(steps, key=steps.__getitem__)


def newest_complete(artifact_uri: str) -> str:
    """Return the name of a run's newest checkpoint that has a manifest, empty when there is none.

    Raises:
        PhaseError: The store does not answer.
    """
    present = CheckpointStore(artifact_uri).listing()
    complete = checkpoint_folders(path for path in present if path.endswith(f"/{schema.MANIFEST_FILE}"))
    return complete[-1] if complete else ""


class CheckpointStore:
    """Write, list, fetch and remove the checkpoints of the run whose artifacts are at `artifact_uri`."""

    def __init__(self, artifact_uri: str) -> None:
        self.artifact_uri = artifact_uri
        folder = local_folder(artifact_uri)
        self._local = folder / schema.CHECKPOINTS_FOLDER if folder else None
        self._opened: ArtifactRepository | None = None

    @property
    def _repository(self) -> ArtifactRepository:
        self._opened = self._opened or get_artifact_repository(self.artifact_uri)
        return self._opened

    @property
    def is_local(self) -> bool:
        """True when the artifacts are in a folder of this machine."""
        return self._local is not None

    @property
    def exists(self) -> bool:
        """False when the artifacts belong into a local folder that does not exist."""
        return self._local is None or self._local.parent.is_dir()

    # --- writing ---

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """Yield the folder to write a checkpoint's files into. In a local store this is already the final folder."""
        if self._local is not None:
            yield self._local / name
            return
        with temporary_folder() as folder:
            yield folder

    def publish(self, name: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
        """Copy files from a staging folder into the store and verify that it holds them.

        Raises:
            PhaseError: The store holds another number of bytes, or other bytes. Errors of the store's client pass.
        """
        if self._local is not None:
            sync(folder)
            sizes = {file: (folder / file).stat().st_size for file in files}
        else:
            sizes = self._upload(name, folder, files)
        for file, entry in files.items():
            if sizes.get(file) != entry.size:
                raise PhaseError(
                    f"the store holds {sizes.get(file, 'no')} bytes of {name}/{file} instead of {entry.size}"
                )

    def _upload(self, name: str, folder: Path, files: Mapping[str, FileEntry]) -> dict[str, int]:
        target = f"{schema.CHECKPOINTS_FOLDER}/{name}"
        if not self.artifact_uri.startswith("s3:"):
            for file in files:
                self._repository.log_artifact(str(folder / file), target)
            return listing(self.artifact_uri, target)
        from mlflow_plugin.checkpoints.s3 import upload_checked

        for file, entry in files.items():
            repository = cast("S3ArtifactRepository", self._repository)
            if difference := upload_checked(repository, folder / file, target, entry.sha256):
                raise PhaseError(f"{self.artifact_uri}/{target}: {difference}")
        return {file: entry.size for file, entry in files.items()}

    def commit(self, name: str, manifest: Manifest) -> None:
        """Write the manifest atomically. The published files are a checkpoint from then on."""
        text = manifest.to_json()
        if self._local is None:
            with temporary_folder() as folder:
                file = folder / schema.MANIFEST_FILE
                file.write_text(text, encoding="utf-8")
                self._repository.log_artifact(str(file), f"{schema.CHECKPOINTS_FOLDER}/{name}")
            return
        part = self._local / name / f"{schema.MANIFEST_FILE}.part"
        part.write_text(text, encoding="utf-8")
        sync(part.parent)
        os.replace(part, part.with_name(schema.MANIFEST_FILE))
        sync(part.parent)
        sync(self._local)

    # --- reading ---

    def listing(self) -> dict[str, int]:
        """Return path below `checkpoints/` -> size in bytes. Raises PhaseError when the store does not answer."""
        return listing(self.artifact_uri, schema.CHECKPOINTS_FOLDER)

    def manifest(self, name: str) -> Manifest:
        """Read a checkpoint's manifest. Raises PhaseError when it is damaged, OSError or MlflowException otherwise."""
        with self._fetched([f"{name}/{schema.MANIFEST_FILE}"]) as folder:
            return Manifest.from_json((folder / name / schema.MANIFEST_FILE).read_bytes())

    @contextmanager
    def opened(self, name: str, manifest: Manifest) -> Iterator[Path]:
        """Yield a folder with a checkpoint's files. The files that it refers to are in the folders beside it.

        Every byte is verified against the manifest.

        Raises:
            PhaseError: A file is missing or damaged.
            OSError, MlflowException: A file cannot be read.
        """
        needed = {**{f"{name}/{file}": entry for file, entry in manifest.files.items()}, **manifest.references}
        with self._fetched(needed) as folder:
            if faults := Manifest(needed).verify(folder):
                raise PhaseError(faults[0].removesuffix("."))
            yield folder / name

    @contextmanager
    def _fetched(self, files: Iterable[str]) -> Iterator[Path]:
        """Yield a folder with these files, by their path below `checkpoints/`."""
        if self._local is not None:
            yield self._local
            return
        with temporary_folder() as folder:

            def downloaded() -> str:
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                return f"{size / 1e6:,.0f} MB of the checkpoint are downloaded"

            with report_periodically(downloaded):
                for file in files:
                    target = folder / safe_relative_path(file)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._repository._download_file(f"{schema.CHECKPOINTS_FOLDER}/{file}", str(target))
            yield folder

    # --- removing ---

    def remove(self, files: Iterable[str]) -> None:
        """Delete files by their path below `checkpoints/`, in this order. A missing file is not an error."""
        for file in files:
            path = safe_relative_path(file)
            if self._local is not None:
                (self._local / path).unlink(missing_ok=True)
                _remove_if_empty((self._local / path).parent)
            else:
                self._repository.delete_artifacts(f"{schema.CHECKPOINTS_FOLDER}/{path}")


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return
