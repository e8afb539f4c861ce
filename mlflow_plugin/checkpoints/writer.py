"""Save checkpoints in the background. The training loop waits only while its state is copied.

Own code because `torch.distributed.checkpoint.async_save` needs a process group and does not verify the stored files.
"""

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
"""How long a failed save to a remote store is retried."""
_FIRST_PAUSE_SECONDS = 0.5
_MAX_PAUSE_SECONDS = 15.0
_LOG_EVERY_SECONDS = 10.0
_DELAY_PER_CPU_SECOND = 1.5
"""How long a second of CPU time delays a loop that uses all processors: its threads wait for the one that lost its
processor. Measured with two torch threads on two processors. The delay is smaller when a processor is idle.
"""
_PROGRAMMING_ERRORS = (TypeError, AttributeError, NameError, LookupError, AssertionError)
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class _Job:
    step: int
    snapshot: Snapshot
    metrics: dict[str, float]
    stall_seconds: float
    copy_free: threading.Event
    """Set once the snapshot is written to files, so that its memory can be reused."""


class CheckpointWriter:
    """Save checkpoints one after the other in a background thread.

    Memory is bounded by one copy of the state: a save waits until the copy of the save before is written to files.

    Args:
        store: Where to save.
        saved: Called in the thread with (name, manifest, seconds that the loop waited) after each complete checkpoint.
        committing: Called in the thread with the name just before a checkpoint is complete. May raise TakenOverError.
        label: Begins each message, for example the phase's name.
        patience_seconds: How long a failed save to a remote store is retried.
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
        self._copy_free = threading.Event()
        self._copy_free.set()
        self._jobs: queue.Queue[_Job] = queue.Queue()
        self._idle = threading.Condition()
        self._pending = 0
        self._thread: threading.Thread | None = None
        self._error: PhaseError | None = None
        self._files: dict[str, FileEntry] = {}
        self.newest = ""
        self.cost_seconds = 0.0
        """How long the last save delayed the loop at most: by copying the state and by CPU time in the background."""

    @property
    def busy(self) -> bool:
        """True while a checkpoint is being written."""
        return self._pending > 0

    def save(self, state: object, step: int, metrics: dict[str, float]) -> float:
        """Copy a state and save it in the background.

        Args:
            state: Any nesting of tensors, arrays and plain values, see `files.save_state`.
            step: The number of completed steps.
            metrics: Metric name -> its value now.

        Returns:
            How long the caller waited, in seconds.

        Raises:
            PhaseError: The state cannot be saved, or an earlier checkpoint could not be saved.
        """
        began = time.monotonic()
        self.raise_error()
        self._wait(self._copy_free.is_set, lambda seconds: self._copy_free.wait(seconds))
        self.raise_error()
        snapshot = self._snapshots.take(state)
        stall = time.monotonic() - began
        if self._thread is None:
            # A daemon: a process that must exit at once does not wait for it. An unfinished checkpoint has no manifest.
            thread = threading.Thread(target=self._work, name=f"checkpoints {self._label}", daemon=True)
            thread.start()
            self._thread = thread
        with self._idle:
            self._pending += 1
        # One event for each job: an earlier job that ends now must not release this job's copy.
        self._copy_free = threading.Event()
        self._jobs.put(_Job(step, snapshot, metrics, stall, self._copy_free))
        return stall

    def flush(self) -> None:
        """Wait until every checkpoint is saved. Raises PhaseError when one could not be saved."""
        with self._idle:
            self._wait(lambda: not self.busy, lambda seconds: self._idle.wait(seconds))
        self.raise_error()

    def raise_error(self) -> None:
        """Raise the PhaseError of the background thread since the last call, if there is one."""
        error, self._error = self._error, None
        if error:
            raise error

    def _wait(self, done: Callable[[], bool], wait: Callable[[float], object]) -> None:
        began = logged = time.monotonic()
        while not done():
            wait(1.0)
            if time.monotonic() - logged > _LOG_EVERY_SECONDS:
                logged = time.monotonic()
                _logger.info(
                    f"{self._label}: waiting until the previous checkpoint is written ({logged - began:.0f} s so far)"
                )

    # --- the thread ---

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                began = time.thread_time()
                self._write(job)
                self.cost_seconds = job.stall_seconds + _DELAY_PER_CPU_SECOND * (time.thread_time() - began)
            except Exception as error:
                self._error = self._phase_error(job, error)
            finally:
                job.copy_free.set()
                with self._idle:
                    self._pending -= 1
                    self._idle.notify_all()

    def _write(self, job: _Job) -> None:
        name = checkpoint_name(job.step)
        with self._store.staging(name) as folder:
            try:
                # An upload to a remote store reads the files again at once: from the cache.
                written = write_snapshot(job.snapshot, folder, name, past_cache=self._store.is_local)
                job.copy_free.set()
                references = {path: self._files[path] for path in sorted(written.references)}
                manifest = Manifest(written.files, job.step, job.metrics, references=references)
                self._with_retries(name, lambda: self._store.publish(name, folder, manifest.files))
                self._with_retries(name, lambda: self._committing(name))
                self._with_retries(name, lambda: self._store.commit(name, manifest))
            except BaseException:
                # On a full disk the unfinished files would leave no space for the next checkpoint.
                with suppress(OSError):
                    shutil.rmtree(folder)
                raise
        self.newest = name
        job.snapshot.mark_stored(written.layout, name)
        self._files |= {f"{name}/{file}": entry for file, entry in written.files.items() if file != STATE_FILE}
        self._with_retries(name, lambda: self._saved(name, manifest, job.stall_seconds))

    def _with_retries(self, name: str, action: Callable[[], _Result]) -> _Result:
        """Call an action on the store and retry it with growing pauses. Errors of a local disk are not retried."""
        deadline, pause = time.monotonic() + self._patience, _FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except (TakenOverError, *_PROGRAMMING_ERRORS):
                raise
            except Exception as error:
                # An error of this machine's disk does not go away by itself.
                permanent = self._store.is_local and isinstance(error, OSError)
                if permanent or time.monotonic() + pause > deadline:
                    raise
                if pause > _FIRST_PAUSE_SECONDS * 2:
                    left = deadline - time.monotonic()
                    _logger.info(
                        f"{self._label}: {name} is not stored yet ({_short(error)}); retrying for {left:.0f} s more"
                    )
                time.sleep(pause)
                pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    def _phase_error(self, job: _Job, error: Exception) -> PhaseError:
        if isinstance(error, TakenOverError):
            return error
        newest = (
            f"The newest complete one is {self.newest}" if self.newest else "No earlier one of this run is complete"
        )
        return PhaseError(
            f"{self._label}: the checkpoint after step {job.step} could not be saved: {_short(error)}. {newest}; later "
            "steps are lost when the phase stops before a checkpoint is saved. Fix the cause and run the phase again: "
            "it resumes from the newest complete checkpoint."
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
