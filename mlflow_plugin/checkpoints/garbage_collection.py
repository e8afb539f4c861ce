"""`mlflow-phases gc`: removes the checkpoints that nobody will go on from. Outputs are never touched.

A run is left alone while it may be alive, while a run that goes on from it has no checkpoint yet, when it is
quarantined, and when another run was made from it or names its id in a parameter: that one may have read a checkpoint.
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
from mlflow_plugin.project.project import CheckpointPolicy, Quality
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_writer import RunWriter
from mlflow_plugin.store.schema import MANIFEST_FILE

COMPLETE_RUNS = CheckpointPolicy(keep_last=1, keep_best=1)
"""What stays of a complete run unless the caller says otherwise: its result is in its outputs."""
QUIET_SECONDS = 3600.0
"""A run of another machine that fell silent counts as alive for so long: it may only have lost its network."""
_OURS = {STATE_FILE, TENSORS_FILE, ARRAYS_FILE, MANIFEST_FILE}
_EVERY_RUN = 50_000
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RunGarbage:
    """What of a run's checkpoints goes, and why; `removal` is None for a run that is left alone. `held_bytes` is the
    size of all its checkpoints; `trouble` says why they could not be looked at or removed.
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
        """Plain values, for JSON. Sizes in bytes."""
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
class _Found:
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
    """Looks through the runs of a project's phases in one experiment. `also_used` includes those that another run was
    made from.
    """

    def __init__(
        self, history: History, complete_runs: CheckpointPolicy = COMPLETE_RUNS, *, also_used: bool = False
    ) -> None:
        self._history, self._complete_runs, self._also_used = history, complete_runs, also_used

    def look(self) -> Iterator[RunGarbage]:
        """What could go, for each run that holds checkpoints, newest first. Removes nothing; goes by files' sizes."""
        return self._each(None)

    def collect(self, records: RunWriter) -> Iterator[RunGarbage]:
        """Removes it, and yields what went. Before that the checkpoint from which a run could be resumed is read back
        and verified, so that what stays is sound.
        """
        return self._each(records)

    @cached_property
    def _runs(self) -> Mapping[str, PhaseRun]:
        found = [run for phase in self._history.project.phases for run in self._history.computed(phase, _EVERY_RUN)]
        return {run.run_id: run for run in found}

    @cached_property
    def _named(self) -> Mapping[str, str]:
        """Run id -> the run that names it in a parameter, such as `runs:/ID/checkpoints/step-000100`."""
        return {
            found: run.run_id
            for run in self._runs.values()
            for value in run.parameters.values()
            for found in _RUN_ID.findall(value)
            if found != run.run_id
        }

    def _each(self, records: RunWriter | None) -> Iterator[RunGarbage]:
        for run in progress(self._runs.values(), len(self._runs), "gc"):
            try:
                found = self._found(run)
                if found.stored:
                    yield self._one(run, found, records)
            except NewerFormatError as error:
                yield RunGarbage(run, f"left alone: {error}")
            except (PhaseError, MlflowException, OSError) as error:
                yield RunGarbage(run, "left alone", trouble=f"{run.phase} {run.short}: {_one_line(error)}")

    def _one(self, run: PhaseRun, found: _Found, records: RunWriter | None) -> RunGarbage:
        garbage = RunGarbage(run, "", found.complete, found.size)
        if reason := self._reason_to_leave(run):
            return replace(garbage, why=f"left alone: {reason}")
        phase = self._history.project.phases[run.phase]
        if run.complete:
            removal = plan_removal(found.stored, self._complete_runs, phase.quality)
            why = f"complete: {_described(self._complete_runs, phase.quality)}"
        elif successor := self._heir_that_is_ahead(run, found, verify=records is not None):
            removal, why = remove_all(found.stored), f"interrupted: {successor.short} went on from it"
        else:
            found = self._verified(found) if records else found
            removal = plan_removal(found.stored, phase.checkpoints, phase.quality)
            why = f"interrupted, can be resumed: {_described(phase.checkpoints, phase.quality)}"
        if records is not None and removal.files:
            # First the tag: whoever looks meanwhile must not be sent to what is about to go.
            records.newest_checkpoint(run, removal.kept[-1] if removal.kept else "")
            found.store.remove(removal.files)
        return replace(garbage, why=why, removal=removal)

    # --- why a run is left alone ---

    def _reason_to_leave(self, run: PhaseRun) -> str:
        if quarantine_reason := self._history.quarantine_reason(run):
            return quarantine_reason
        if may_be_alive(run):
            return "it is running, or was less than an hour ago"
        for successor in self._successors(run):
            if may_be_alive(successor):
                return f"{successor.short} is running and goes on from it"
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

    def _heir_that_is_ahead(self, run: PhaseRun, found: _Found, *, verify: bool) -> PhaseRun | None:
        """The run that went on from this one and completed, or holds a checkpoint that is as new."""
        for successor in self._successors(run):
            if self._history.quarantine_reason(successor):
                continue
            if successor.complete:
                return successor
            of_successor = self._verified(self._found(successor)) if verify else self._found(successor)
            newest, own = _newest_step(of_successor.stored), _newest_step(found.stored)
            if newest is not None and (own is None or newest >= own):
                return successor
        return None

    # --- what the store holds ---

    def _found(self, run: PhaseRun) -> _Found:
        store = CheckpointStore(run.artifact_uri)
        folders: dict[str, dict[str, int]] = {}
        for path, size in store.listing().items():
            folders.setdefault(path.split("/", 1)[0], {})[path] = size
        stored = (_stored(store, run, name, files) for name, files in folders.items())
        return _Found(store, tuple(one for one in stored if one))

    def _verified(self, found: _Found) -> _Found:
        """With the newest checkpoint read back: those before it that do not verify are known to be bad."""
        stored = found.stored
        while newest := _newest(stored):
            try:
                with found.store.opened(newest.name, found.store.manifest(newest.name)):
                    break
            except NewerFormatError:
                raise
            except PhaseError as error:
                if unreadable_here(error):
                    raise
                stored = tuple(replace(one, known_bad=True) if one is newest else one for one in stored)
        return replace(found, stored=stored)


def may_be_alive(run: PhaseRun) -> bool:
    """Whether a run that has not ended may still be computing. On its own machine the process is asked; elsewhere it
    must have been silent for an hour.
    """
    if not run.is_open:
        return False
    where = whereabouts(run.heartbeat)
    if where != "elsewhere":
        return where != "gone"
    return age(run.heartbeat, time.time()) < max(QUIET_SECONDS, dead_after(run.heartbeat))


def _stored(store: CheckpointStore, run: PhaseRun, name: str, files: Mapping[str, int]) -> StoredCheckpoint | None:
    """One folder below `checkpoints/`; None for one that this package cannot have made."""
    step = checkpoint_step(name)
    if step is None:
        return None
    if f"{name}/{MANIFEST_FILE}" not in files:
        ours = all(path.partition("/")[2].removesuffix(".part") in _OURS for path in files)
        return StoredCheckpoint(name, step, files, complete=False) if ours else None
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


def _described(policy: CheckpointPolicy, quality: Quality | None) -> str:
    kept = [f"the last {policy.keep_last}"]
    kept += [f"the best {policy.keep_best}"] if policy.keep_best and quality else []
    kept += [f"one every {policy.keep_every} steps"] if policy.keep_every else []
    return f"{', '.join(kept)} stay"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
