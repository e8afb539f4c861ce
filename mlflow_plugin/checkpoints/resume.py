"""From where an interrupted phase goes on: the newest checkpoint that verifies, of its own run or of one before it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_plugin.checkpoints.files import load_state
from mlflow_plugin.checkpoints.store import CheckpointStore, checkpoint_folders, checkpoint_name, checkpoint_step
from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.format import short
from mlflow_plugin.store.manifest import Manifest
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.schema import MANIFEST_FILE

_PATH_BEFORE = re.compile(r"\S*/(?=step-\d{6})")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that was read and verified: the state after `step` steps, the random states, for how long the
    phase had computed by then, at which step each metric had been logged last, the run it is of, and what was passed
    over on the way to it, one sentence each.
    """

    run_id: str
    step: int
    state: Any
    random: Mapping[str, Any]
    elapsed_seconds: float = 0.0
    logged_steps: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return checkpoint_name(self.step)


class Skipped:
    """What was passed over. `remember(run_id, name, why)` is called for what is damaged: it is not tried again."""

    def __init__(self, remember: Callable[[str, str, str], None]) -> None:
        self.sentences: list[str] = []
        self._remember = remember

    def incomplete(self, run: PhaseRun, name: str) -> None:
        self.sentences.append(f"{name} of {run.short}: it was never complete, it has no {MANIFEST_FILE}")

    def known(self, run: PhaseRun, name: str) -> None:
        self.sentences.append(f"{name} of {run.short}: {run.bad_checkpoints[name]} (found before)")

    def newer(self, run: PhaseRun, name: str, why: str) -> None:
        self.sentences.append(f"{name} of {run.short}: {why}")

    def damaged(self, run: PhaseRun, name: str, why: str) -> None:
        why = _PATH_BEFORE.sub("", why)  # The run is named, and a tag has little room.
        self.sentences.append(f"{name} of {run.short}: {why}")
        self._remember(run.run_id, name, why)


def newest_sound(runs: Iterable[PhaseRun], remember: Callable[[str, str, str], None]) -> LoadedCheckpoint | list[str]:
    """The newest checkpoint that verifies: those of the first run from the newest back, then those of the next.

    `runs` are an interrupted run, the run that it had gone on from, and so on; they are looked at only when needed.
    Without a sound one: what was passed over, one sentence each. Raises PhaseError when a store does not answer, since
    that is no reason to start over.
    """
    skipped = Skipped(remember)
    for run in runs:
        store = CheckpointStore(run.artifact_uri)
        if run.checkpoint and not store.exists:
            raise PhaseError(
                f"{run.artifact_uri}, which holds {run.checkpoint} of run {run.run_id}, is not there. Mount the disk "
                "that it lies on and run it again; to start from the beginning on purpose: -P decide=rerun."
            )
        present = store.listing()
        for name in reversed(checkpoint_folders(present)):
            found = _tried(run, store, name, present, skipped)
            if found is not None:
                return found
    return skipped.sentences


def _tried(
    run: PhaseRun, store: CheckpointStore, name: str, present: Mapping[str, int], skipped: Skipped
) -> LoadedCheckpoint | None:
    """One checkpoint, read, or None when it is passed over."""
    if name in run.bad_checkpoints:
        skipped.known(run, name)
    elif f"{name}/{MANIFEST_FILE}" not in present:
        skipped.incomplete(run, name)
    else:
        try:
            manifest = store.manifest(name)
            if fault := _missing(manifest, name, present):
                skipped.damaged(run, name, fault)
                return None
            with store.opened(name, manifest) as folder:
                content = load_state(folder)
            return LoadedCheckpoint(
                run.run_id,
                checkpoint_step(name) or 0,
                content["state"],
                content["random"],
                float(content.get("elapsed_seconds", 0.0)),
                dict(content.get("logged_steps", {})),
                manifest.metrics,
                tuple(skipped.sentences),
            )
        except NewerFormatError as error:
            skipped.newer(run, name, str(error))
        except (KeyError, TypeError) as error:
            skipped.damaged(run, name, f"it holds no state of a phase ({error})")
        except Exception as error:
            if isinstance(error, PhaseError) and not unreadable_here(error):
                skipped.damaged(run, name, str(error))
                return None
            why = " ".join(str(error).split())[:300]
            raise PhaseError(
                f"{name} of {short(run.run_id)} cannot be read from {run.artifact_uri}: {why}. "
                "Nothing was changed; run it again once that is mended, or when the store is back."
            ) from error
    return None


def unreadable_here(error: PhaseError) -> bool:
    """Whether reading failed for want of permission, memory or a library, which says nothing about what was read."""
    cause = error.__cause__
    return isinstance(cause, OSError | MemoryError | ImportError) and not isinstance(cause, FileNotFoundError)


def _missing(manifest: Manifest, name: str, present: Mapping[str, int]) -> str:
    """What the store lacks of a checkpoint, by its listing: no need to fetch what cannot be whole."""
    wanted = {f"{name}/{file}": entry for file, entry in manifest.files.items()} | manifest.references
    for path, entry in wanted.items():
        if path not in present:
            return f"{path} is missing"
        if present[path] != entry.size:
            return f"{path} has {present[path]} bytes instead of {entry.size}"
    return ""
