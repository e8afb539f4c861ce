"""Find the checkpoint that an interrupted phase resumes from: the newest one whose files verify."""

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

_PATH_PREFIX = re.compile(r"\S*/(?=step-\d{6})")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that was read and verified.

    Attributes:
        run_id: The run that saved it.
        step: The number of completed steps.
        state: The result of `collect`; its tensors are on the CPU.
        random: The result of `capture_random_state`.
        elapsed_seconds: How long the phase had computed by then, in seconds.
        logged_steps: Metric name -> the step at which it had been logged last.
        metrics: Metric name -> its value when the checkpoint was saved.
        identity: Which parts of the state were one object, see `identity.Beginning`; None when it was not recorded.
        skipped: One sentence for each newer checkpoint that could not be used.
    """

    run_id: str
    step: int
    state: Any
    random: Mapping[str, Any]
    elapsed_seconds: float = 0.0
    logged_steps: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    identity: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return checkpoint_name(self.step)


class _SkippedCheckpoints:
    """Collect one sentence for each checkpoint that cannot be used, and report the damaged ones to `remember`."""

    def __init__(self, remember: Callable[[str, str, str], None]) -> None:
        self.sentences: list[str] = []
        self._remember = remember

    def incomplete(self, run: PhaseRun, name: str) -> None:
        self.sentences.append(f"{name} of {run.short}: it was never complete, it has no {MANIFEST_FILE}")

    def known_bad(self, run: PhaseRun, name: str) -> None:
        self.sentences.append(f"{name} of {run.short}: {run.bad_checkpoints[name]} (found before)")

    def newer_format(self, run: PhaseRun, name: str, reason: str) -> None:
        self.sentences.append(f"{name} of {run.short}: {reason}")

    def damaged(self, run: PhaseRun, name: str, reason: str) -> None:
        reason = _PATH_PREFIX.sub("", reason)  # The sentence names the run already, and a tag is short.
        self.sentences.append(f"{name} of {run.short}: {reason}")
        self._remember(run.run_id, name, reason)


def newest_verified(
    runs: Iterable[PhaseRun], remember: Callable[[str, str, str], None]
) -> LoadedCheckpoint | list[str]:
    """Load the newest checkpoint whose files verify.

    Args:
        runs: The interrupted run, the run that it resumed from, and so on. A later one is consumed only when the
            earlier ones have no checkpoint that verifies.
        remember: Called with (run id, checkpoint name, reason) for each damaged checkpoint, so that none is read twice.

    Returns:
        The checkpoint, or, when none verifies, one sentence for each checkpoint that could not be used.

    Raises:
        PhaseError: A store does not answer. The phase must not start from the beginning because of that.
    """
    skipped = _SkippedCheckpoints(remember)
    for run in runs:
        store = CheckpointStore(run.artifact_uri)
        if run.checkpoint and not store.exists:
            raise PhaseError(
                f"The folder {run.artifact_uri}, which holds {run.checkpoint} of run {run.run_id}, is not there. Mount "
                "its disk and run the phase again. To start from the beginning instead: -P decide=rerun."
            )
        present = store.listing()
        for name in reversed(checkpoint_folders(present)):
            loaded = _load(run, store, name, present, skipped)
            if loaded is not None:
                return loaded
    return skipped.sentences


def _load(
    run: PhaseRun, store: CheckpointStore, name: str, present: Mapping[str, int], skipped: _SkippedCheckpoints
) -> LoadedCheckpoint | None:
    """Load one checkpoint, or note why it cannot be used and return None."""
    if name in run.bad_checkpoints:
        skipped.known_bad(run, name)
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
                content.get("identity"),
            )
        except NewerFormatError as error:
            skipped.newer_format(run, name, str(error))
        except (KeyError, TypeError) as error:
            skipped.damaged(run, name, f"it does not hold the state of a phase ({error})")
        except Exception as error:
            if isinstance(error, PhaseError) and not unreadable_here(error):
                skipped.damaged(run, name, str(error))
                return None
            cause = " ".join(str(error).split())[:300]
            raise PhaseError(
                f"{name} of {short(run.run_id)} cannot be read from {run.artifact_uri}: {cause}. "
                "Nothing was changed. Run the phase again once this is fixed, or when the store is back."
            ) from error
    return None


def unreadable_here(error: PhaseError) -> bool:
    """Return whether this machine lacked permission, memory or a library. The file itself may be intact then."""
    cause = error.__cause__
    return isinstance(cause, OSError | MemoryError | ImportError) and not isinstance(cause, FileNotFoundError)


def _missing(manifest: Manifest, name: str, present: Mapping[str, int]) -> str:
    """Return what the store's listing lacks of a checkpoint, empty when it lacks nothing. Spares a useless download."""
    needed = {f"{name}/{file}": entry for file, entry in manifest.files.items()} | manifest.references
    for path, entry in needed.items():
        if path not in present:
            return f"{path} is missing"
        if present[path] != entry.size:
            return f"{path} has {present[path]} bytes instead of {entry.size}"
    return ""
