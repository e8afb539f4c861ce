"""Remove the checkpoints that no run will resume from (`mlflow-phases gc`). Outputs are never removed.

A run is skipped while it may be alive, while a run that resumes from it has no checkpoint yet, when it is quarantined,
and when another run was made from it or names its id in a parameter: that run may have read a checkpoint.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mlflow.exceptions import MlflowException

from mlflow_plugin.checkpoints.files import STATE_FILE
from mlflow_plugin.checkpoints.resume import unreadable_here
from mlflow_plugin.checkpoints.retention import Removal, StoredCheckpoint, plan_removal, remove_all
from mlflow_plugin.checkpoints.snapshot import ARRAYS_FILE, TENSORS_FILE
from mlflow_plugin.checkpoints.store import CheckpointStore, checkpoint_step
from mlflow_plugin.errors import NewerFormatError, PhaseError
from mlflow_plugin.format import short
from mlflow_plugin.machine.liveness import age, dead_after, whereabouts
from mlflow_plugin.progress import progress
from mlflow_plugin.project.judging import Quality
from mlflow_plugin.project.project import CheckpointPolicy
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_writer import RunWriter
from mlflow_plugin.store.schema import MANIFEST_FILE

COMPLETE_RUNS = CheckpointPolicy(keep_last=1, keep_best=1)
"""The default policy for a complete run. Its result is in its outputs."""
QUIET_SECONDS = 3600.0
"""How long a run of another machine counts as alive after its last heartbeat: it may only have lost its network."""
_CHECKPOINT_FILES = {STATE_FILE, TENSORS_FILE, ARRAYS_FILE, MANIFEST_FILE}
_MAX_RUNS = 50_000
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RunGarbage:
    """The checkpoints of one run that can be removed.

    Attributes:
        run: The run.
        why: The rule that applies to it.
        checkpoints: The number of its complete checkpoints.
        held_bytes: The size of all its checkpoints.
        removal: What is removed, None for a run that is skipped.
        trouble: Why its checkpoints could not be read or removed, empty without an error.
    """

    run: PhaseRun
    why: str
    checkpoints: int = 0
    held_bytes: int = 0
    removal: Removal | None = None
    trouble: str = ""

    @property
    def freed_bytes(self) -> int:
        return self.removal.bytes if self.removal else 0

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON. Sizes are in bytes."""
        return {
            "phase": self.run.phase,
            "run_id": self.run.run_id,
            "why": self.why,
            "checkpoints": self.checkpoints,
            "held_bytes": self.held_bytes,
            "kept": list(self.removal.kept) if self.removal else None,
            "removed": list(self.removal.checkpoints) if self.removal else [],
            "freed_bytes": self.freed_bytes,
            "trouble": self.trouble,
        }


@dataclass(frozen=True)
class _StoredCheckpoints:
    """The checkpoints of a run as its store holds them."""

    store: CheckpointStore
    stored: tuple[StoredCheckpoint, ...]

    @property
    def complete(self) -> int:
        return sum(one.complete for one in self.stored)

    @property
    def size(self) -> int:
        return sum(sum(one.files.values()) for one in self.stored)


class GarbageCollection:
    """Find and remove unneeded checkpoints of a project's phases in one experiment.

    Args:
        history: The runs of the project.
        complete_runs: The policy for complete runs.
        also_used: Include runs that another run was made from.
    """

    def __init__(
        self, history: History, complete_runs: CheckpointPolicy = COMPLETE_RUNS, *, also_used: bool = False
    ) -> None:
        self._history, self._complete_runs, self._also_used = history, complete_runs, also_used

    def look(self) -> Iterator[RunGarbage]:
        """Yield what could be removed of each run that holds checkpoints, newest first. Removes nothing.

        Checkpoints are judged by the sizes of their files, not read.
        """
        return self._each(None)

    def collect(self, records: RunWriter) -> Iterator[RunGarbage]:
        """Remove unneeded checkpoints and yield what was removed of each run.

        The checkpoint that a run could resume from is read and verified before others are removed.
        """
        return self._each(records)

    @cached_property
    def _runs(self) -> Mapping[str, PhaseRun]:
        phases = self._history.project.phases
        return {run.run_id: run for phase in phases for run in self._history.computed(phase, _MAX_RUNS)}

    @cached_property
    def _named(self) -> Mapping[str, str]:
        """Run id -> the run that names it in a parameter, such as `runs:/ID/checkpoints/step-000100`."""
        return {
            run_id: run.run_id
            for run in self._runs.values()
            for value in run.parameters.values()
            for run_id in _RUN_ID.findall(value)
            if run_id != run.run_id
        }

    def _each(self, records: RunWriter | None) -> Iterator[RunGarbage]:
        for run in progress(self._runs.values(), len(self._runs), "gc"):
            try:
                checkpoints = self._checkpoints(run)
                if checkpoints.stored:
                    yield self._one(run, checkpoints, records)
            except NewerFormatError as error:
                yield RunGarbage(run, f"left alone: {error}")
            except (PhaseError, MlflowException, OSError) as error:
                yield RunGarbage(run, "left alone", trouble=f"{run.phase} {run.short}: {_one_line(error)}")

    def _one(self, run: PhaseRun, checkpoints: _StoredCheckpoints, records: RunWriter | None) -> RunGarbage:
        garbage = RunGarbage(run, "", checkpoints.complete, checkpoints.size)
        if reason := self._reason_to_skip(run):
            return replace(garbage, why=f"left alone: {reason}")
        phase = self._history.project.phases[run.phase]
        if run.complete:
            removal = plan_removal(checkpoints.stored, self._complete_runs, phase.quality)
            why = f"complete: {_summary(self._complete_runs, phase.quality)}"
        elif successor := self._successor_ahead(run, checkpoints, verify=records is not None):
            removal, why = remove_all(checkpoints.stored), f"interrupted: {successor.short} resumed from it"
        else:
            checkpoints = self._verified(checkpoints) if records else checkpoints
            removal = plan_removal(checkpoints.stored, phase.checkpoints, phase.quality)
            why = f"interrupted, resumable: {_summary(phase.checkpoints, phase.quality)}"
        if records is not None and removal.files:
            # First the tag: a reader must not be directed to a checkpoint that is being removed.
            records.newest_checkpoint(run, removal.kept[-1] if removal.kept else "")
            checkpoints.store.remove(removal.files)
        return replace(garbage, why=why, removal=removal)

    # --- why a run is skipped ---

    def _reason_to_skip(self, run: PhaseRun) -> str:
        if quarantine_reason := self._history.quarantine_reason(run):
            return quarantine_reason
        if may_be_alive(run):
            return "it is running, or was less than an hour ago"
        for successor in self._successors(run):
            if may_be_alive(successor):
                return f"{successor.short} is running and resumes from it"
        if self._also_used:
            return ""
        if run.run_id in self._named:
            return f"{short(self._named[run.run_id])} names it in a parameter"
        if used := next((user for user in self._history.used_by(run) if user.run_id != run.run_id), None):
            return f"{used.phase} {used.short} was made from it"
        return ""

    def _successors(self, run: PhaseRun) -> list[PhaseRun]:
        return [
            other for other in self._runs.values() if run.run_id == other.resumed_from or other.run_id == run.successor
        ]

    def _successor_ahead(self, run: PhaseRun, checkpoints: _StoredCheckpoints, *, verify: bool) -> PhaseRun | None:
        """Return the run that resumed from this one and completed, or holds a checkpoint that is at least as new."""
        for successor in self._successors(run):
            if self._history.quarantine_reason(successor):
                continue
            if successor.complete:
                return successor
            of_successor = self._checkpoints(successor)
            of_successor = self._verified(of_successor) if verify else of_successor
            newest, own = _newest_step(of_successor.stored), _newest_step(checkpoints.stored)
            if newest is not None and (own is None or newest >= own):
                return successor
        return None

    # --- what the store holds ---

    def _checkpoints(self, run: PhaseRun) -> _StoredCheckpoints:
        store = CheckpointStore(run.artifact_uri)
        folders: dict[str, dict[str, int]] = {}
        for path, size in store.listing().items():
            folders.setdefault(path.split("/", 1)[0], {})[path] = size
        stored = (_stored(store, run, name, files) for name, files in folders.items())
        return _StoredCheckpoints(store, tuple(one for one in stored if one))

    def _verified(self, checkpoints: _StoredCheckpoints) -> _StoredCheckpoints:
        """Read checkpoints from the newest back until one verifies, and mark the others as bad."""
        stored = checkpoints.stored
        while newest := _newest(stored):
            try:
                with checkpoints.store.opened(newest.name, checkpoints.store.manifest(newest.name)):
                    break
            except NewerFormatError:
                raise
            except PhaseError as error:
                if unreadable_here(error):
                    raise
                stored = tuple(replace(one, known_bad=True) if one is newest else one for one in stored)
        return replace(checkpoints, stored=stored)


def may_be_alive(run: PhaseRun) -> bool:
    """Return whether a run that has not ended may still be computing.

    On the run's machine its process decides. Elsewhere the run counts as dead an hour after its last heartbeat.
    """
    if not run.is_open:
        return False
    where = whereabouts(run.heartbeat)
    if where != "elsewhere":
        return where != "gone"
    return age(run.heartbeat, time.time()) < max(QUIET_SECONDS, dead_after(run.heartbeat))


def _stored(store: CheckpointStore, run: PhaseRun, name: str, files: Mapping[str, int]) -> StoredCheckpoint | None:
    """Describe one folder below `checkpoints/`. None for a folder that this package cannot have created."""
    step = checkpoint_step(name)
    if step is None:
        return None
    if f"{name}/{MANIFEST_FILE}" not in files:
        own = all(path.partition("/")[2].removesuffix(".part") in _CHECKPOINT_FILES for path in files)
        return StoredCheckpoint(name, step, files, complete=False) if own else None
    try:
        return StoredCheckpoint.of(name, store.manifest(name), files, known_bad=name in run.bad_checkpoints)
    except NewerFormatError:
        raise
    except PhaseError:
        return StoredCheckpoint(name, step, files, known_bad=True)


def _newest(stored: Sequence[StoredCheckpoint]) -> StoredCheckpoint | None:
    kept = plan_removal(stored, CheckpointPolicy(keep_last=1, keep_best=0)).kept
    return next((one for one in stored if one.name in kept), None)


def _newest_step(stored: Sequence[StoredCheckpoint]) -> int | None:
    newest = _newest(stored)
    return newest.step if newest else None


def _summary(policy: CheckpointPolicy, quality: Quality | None) -> str:
    kept = [f"the last {policy.keep_last}"]
    kept += [f"the best {policy.keep_best}"] if policy.keep_best and quality else []
    kept += [f"one every {policy.keep_every} steps"] if policy.keep_every else []
    return f"{', '.join(kept)} stay"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
