"""Saves checkpoints behind a running loop, which is held up only while its state is copied."""

import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from mlflow_plugin.checkpoints.files import STATE_FILE, write_snapshot
from mlflow_plugin.checkpoints.snapshot import Snapshot, Snapshots
from mlflow_plugin.checkpoints.store import CheckpointStore, checkpoint_name
from mlflow_plugin.errors import PhaseError, TakenOverError
from mlflow_plugin.store.manifest import FileEntry, Manifest

_logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 300.0
"""How long a checkpoint is tried again when a remote store does not take it."""
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 15.0
_SAY_EVERY_SECONDS = 10.0
_DELAY_OF_PROCESSOR_TIME = 1.5
"""By how much a second of a processor delays a loop that computes on all of them: its threads wait for the one whose
processor was taken. Measured with two threads of torch on two processors; less where one is free.
"""
_FAULTS_OF_CODE = (TypeError, AttributeError, NameError, LookupError, AssertionError)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Job:
    step: int
    snapshot: Snapshot
    metrics: dict[str, float]
    stall_seconds: float
    copied_out: threading.Event
    """Set once the snapshot lies in files, so that its memory can be used again."""


class CheckpointWriter:
    """Saves one checkpoint after the other, in a thread of its own, into `store`.

    `committing(name)`, which may raise TakenOverError, is called in that thread just before a checkpoint is complete,
    and `saved(name, manifest, stall_seconds)` after that. Memory is bounded by one copy of the state: a save
    waits until the copy that the save before it made has been written out of memory. `label` is for what is said.
    """

    def __init__(
        self,
        store: CheckpointStore,
        saved: Callable[[str, Manifest, float], None],
        committing: Callable[[str], None],
        label: str,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._store, self._saved, self._committing, self._label = store, saved, committing, label
        self._patience = patience_seconds
        self._snapshots = Snapshots()
        self._copied_out = threading.Event()
        self._copied_out.set()
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._idle = threading.Condition()
        self._pending = 0
        self._thread: threading.Thread | None = None
        self._error: PhaseError | None = None
        self._files: dict[str, FileEntry] = {}
        self.newest = ""
        self.cost_seconds = 0.0
        """How long the last save delayed the loop at most: while its state was copied, and by work beside it."""

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still being written."""
        return self._pending > 0

    def save(self, state: object, step: int, metrics: dict[str, float]) -> float:
        """Takes a copy of a state (any nesting of tensors, arrays and plain values) as the one after `step` steps, and
        has it saved; returns for how many seconds that held the caller up.

        Raises PhaseError for what cannot be saved, and for what went wrong with an earlier checkpoint.
        """
        began = time.monotonic()
        self.raise_error()
        self._wait(self._copied_out.is_set, lambda seconds: self._copied_out.wait(seconds))
        self.raise_error()
        snapshot = self._snapshots.take(state)
        stall = time.monotonic() - began
        if self._thread is None:
            # A daemon: whoever is told to leave at once does not wait for it, and half a checkpoint is none.
            thread = threading.Thread(target=self._work, name=f"checkpoints {self._label}", daemon=True)
            thread.start()
            self._thread = thread
        with self._idle:
            self._pending += 1
        # One for each job: an earlier job that ends now says nothing about this one's copy.
        self._copied_out = threading.Event()
        self._jobs.put(_Job(step, snapshot, metrics, stall, self._copied_out))
        return stall

    def flush(self) -> None:
        """Returns once all that was handed over is saved. Raises PhaseError for what could not be."""
        with self._idle:
            self._wait(lambda: not self.busy, lambda seconds: self._idle.wait(seconds))
        self.raise_error()

    def raise_error(self) -> None:
        """Raises PhaseError for what went wrong since the last look, once."""
        error, self._error = self._error, None
        if error:
            raise error

    def _wait(self, done: Callable[[], bool], wait: Callable[[float], object]) -> None:
        began = said = time.monotonic()
        while not done():
            wait(1.0)
            if time.monotonic() - said > _SAY_EVERY_SECONDS:
                said = time.monotonic()
                _logger.info(f"{self._label}: waiting until the checkpoint before is written ({said - began:.0f} s)")

    # --- the thread ---

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                began = time.thread_time()
                self._write(job)
                self.cost_seconds = job.stall_seconds + _DELAY_OF_PROCESSOR_TIME * (time.thread_time() - began)
            except Exception as error:
                self._error = self._explained(job, error)
            finally:
                job.copied_out.set()
                with self._idle:
                    self._pending -= 1
                    self._idle.notify_all()

    def _write(self, job: _Job) -> None:
        name = checkpoint_name(job.step)
        with self._store.staging(name) as folder:
            try:
                # What goes to a remote store is read again at once.
                written = write_snapshot(job.snapshot, folder, name, past_cache=self._store.is_local)
                job.copied_out.set()
                references = {path: self._files[path] for path in sorted(written.references)}
                manifest = Manifest(written.files, job.step, job.metrics, references=references)
                self._patiently(name, lambda: self._store.publish(name, folder, manifest.files))
                self._patiently(name, lambda: self._committing(name))
                self._patiently(name, lambda: self._store.commit(name, manifest))
            except BaseException:
                # On a full disk the rest of it would be in the way of the next.
                with suppress(OSError):
                    shutil.rmtree(folder)
                raise
        self.newest = name
        job.snapshot.mark_stored(written.layout, name)
        self._files |= {f"{name}/{file}": entry for file, entry in written.files.items() if file != STATE_FILE}
        self._patiently(name, lambda: self._saved(name, manifest, job.stall_seconds))

    def _patiently(self, name: str, action: Callable[[], _Result]) -> _Result:
        """Does something with the store, again and again while it fails; a full local disk is not waited for."""
        deadline, pause = time.monotonic() + self._patience, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except (TakenOverError, *_FAULTS_OF_CODE):
                raise
            except Exception as error:
                # An error of this machine's disk does not go away by itself.
                lasting = self._store.is_local and isinstance(error, OSError)
                if lasting or time.monotonic() + pause > deadline:
                    raise
                if pause > _FIRST_PAUSE_SECONDS * 2:
                    left = deadline - time.monotonic()
                    _logger.info(
                        f"{self._label}: {name} is not stored yet ({_short(error)}); trying for {left:.0f} s more"
                    )
                time.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _explained(self, job: _Job, error: Exception) -> PhaseError:
        if isinstance(error, TakenOverError):
            return error
        newest = (
            f"The newest complete one is {self.newest}" if self.newest else "No earlier one of this run is complete"
        )
        return PhaseError(
            f"{self._label}: the checkpoint after step {job.step} could not be saved: {_short(error)}. {newest}; what "
            "it lacks is lost unless the cause is mended and the phase goes on. Run it again to go on from there."
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
