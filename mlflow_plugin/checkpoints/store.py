"""Where the checkpoints of one run lie: `checkpoints/step-000100/` among its artifacts, its manifest written last."""

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
    """`step-000100`; numbers above six digits simply grow, since they are compared as numbers."""
    return f"step-{step:06d}"


def checkpoint_step(name: str) -> int | None:
    """100 for `step-000100`, None for what is no name of a checkpoint."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def checkpoint_folders(paths: Iterable[str]) -> list[str]:
    """The names of checkpoints among the first parts of paths, each once, by rising step."""
    folders = {path.split("/", 1)[0] for path in paths}
    steps = {name: step for name in folders if (step := checkpoint_step(name)) is not None}
    return sorted(steps, key=steps.__getitem__)


def newest_complete(artifact_uri: str) -> str:
    """The name of the newest checkpoint of a run that has a manifest, empty without one. Raises PhaseError when the
    store does not answer.
    """
    present = CheckpointStore(artifact_uri).listing()
    complete = checkpoint_folders(path for path in present if path.endswith(f"/{schema.MANIFEST_FILE}"))
    return complete[-1] if complete else ""


class CheckpointStore:
    """Writes, lists, fetches and removes the checkpoints of the run whose artifacts lie at `artifact_uri`."""

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
        """Whether the artifacts lie in a folder of this machine."""
        return self._local is not None

    @property
    def exists(self) -> bool:
        """False when the artifacts lie in a local folder that is not there."""
        return self._local is None or self._local.parent.is_dir()

    # --- writing ---

    @contextmanager
    def staging(self, name: str) -> Iterator[Path]:
        """The folder to write a checkpoint's files into: in a local store its own, so that they are written once."""
        if self._local is not None:
            yield self._local / name
            return
        with temporary_folder() as folder:
            yield folder

    def publish(self, name: str, folder: Path, files: Mapping[str, FileEntry]) -> None:
        """Returns once the store holds these files of a staging folder and says so itself.

        Raises PhaseError when it holds something else, and what the store's client raises.
        """
        if self._local is not None:
            sync(folder)
            held = {file: (folder / file).stat().st_size for file in files}
        else:
            held = self._upload(name, folder, files)
        for file, entry in files.items():
            if held.get(file) != entry.size:
                raise PhaseError(
                    f"the store holds {held.get(file, 'no')} bytes of {name}/{file} instead of {entry.size}"
                )

    def _upload(self, name: str, folder: Path, files: Mapping[str, FileEntry]) -> dict[str, int]:
        where = f"{schema.CHECKPOINTS_FOLDER}/{name}"
        if not self.artifact_uri.startswith("s3:"):
            for file in files:
                self._repository.log_artifact(str(folder / file), where)
            return listing(self.artifact_uri, where)
        from mlflow_plugin.checkpoints.s3 import upload_checked

        for file, entry in files.items():
            repository = cast("S3ArtifactRepository", self._repository)
            if fault := upload_checked(repository, folder / file, where, entry.sha256):
                raise PhaseError(f"{self.artifact_uri}/{where}: {fault}")
        return {file: entry.size for file, entry in files.items()}

    def commit(self, name: str, manifest: Manifest) -> None:
        """Writes the manifest, in one step, which makes a checkpoint of the files that were published."""
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
        """Path below `checkpoints/` -> size in bytes. Raises PhaseError when the store does not answer."""
        return listing(self.artifact_uri, schema.CHECKPOINTS_FOLDER)

    def manifest(self, name: str) -> Manifest:
        """Raises PhaseError when it is damaged, OSError and MlflowException when it cannot be read."""
        with self._fetched([f"{name}/{schema.MANIFEST_FILE}"]) as folder:
            return Manifest.from_json((folder / name / schema.MANIFEST_FILE).read_bytes())

    @contextmanager
    def opened(self, name: str, manifest: Manifest) -> Iterator[Path]:
        """A folder that holds a checkpoint's files, every byte checked, and beside it those that it refers to.

        Raises PhaseError when something is missing or damaged, OSError and MlflowException when it cannot be read.
        """
        wanted = {**{f"{name}/{file}": entry for file, entry in manifest.files.items()}, **manifest.references}
        with self._fetched(wanted) as folder:
            if faults := Manifest(wanted).verify(folder):
                raise PhaseError(faults[0].removesuffix("."))
            yield folder / name

    @contextmanager
    def _fetched(self, files: Iterable[str]) -> Iterator[Path]:
        """A folder with these files, by their path below `checkpoints/`."""
        if self._local is not None:
            yield self._local
            return
        with temporary_folder() as folder:

            def arrived() -> str:
                size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                return f"{size / 1e6:,.0f} MB of the checkpoint have arrived"

            with report_periodically(arrived):
                for file in files:
                    target = folder / safe_relative_path(file)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._repository._download_file(f"{schema.CHECKPOINTS_FOLDER}/{file}", str(target))
            yield folder

    # --- removing ---

    def remove(self, files: Iterable[str]) -> None:
        """Removes files by their path below `checkpoints/`, in this order. What is gone already is no error."""
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
