"""A process that computes a phase together with rank 0, which alone decides, asks, records and saves.

A follower reads the same inputs, begins with the same checkpoint, and ends with rank 0.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.checkpoints.resume import LoadedCheckpoint, newest_verified
from mlflow_plugin.checkpoints.session import CheckpointSession
from mlflow_plugin.errors import PhaseError
from mlflow_plugin.execution.heartbeat import Heartbeat
from mlflow_plugin.execution.records import Records
from mlflow_plugin.machine.liveness import whereabouts
from mlflow_plugin.machine.ranks import rank
from mlflow_plugin.machine.signals import Termination, signal_handlers
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.progress import silence
from mlflow_plugin.project.parameters import Value
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.patience import StoreAway, StorePatience
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

T = TypeVar("T")
_LOOK_EVERY_SECONDS = 0.5
_STARTED = ("run", "resume")


class Follower(ActivePhase):
    """The phase in a process beside rank 0: reading works as there, recording and saving do nothing."""

    def __init__(
        self,
        records: Records,
        run: PhaseRun,
        phase: Phase,
        parameters: Mapping[str, Value],
        inputs: Mapping[str, PhaseRun],
        resumed_from: PhaseRun | None,
    ) -> None:
        checkpoints = _SameCheckpoint(records, run, phase, resumed_from, Termination(installed=False))
        heartbeat = Heartbeat(records, run.run_id)  # It is never entered, so it writes nothing.
        super().__init__(records, run.run_id, phase, parameters, inputs, Path(os.devnull), heartbeat, checkpoints)

    def quarantine(self, need: str, reason: str) -> None:
        self._input_run(need)

    def output(self, name: str, save: Callable[[Path], object] | Path | str) -> None:
        """Do nothing: rank 0 saves."""

    def log(self, values: Mapping[str, float] | None = None, /, *, step: int | None = None, **metrics: float) -> None:
        """Do nothing: rank 0 logs and watches."""

    def describe(self, markdown: str) -> None:
        """Do nothing: rank 0 describes."""

    def progress(self, items: Iterable[T], total: int | None = None, description: str = "") -> Iterator[T]:
        yield from items

    def checkpoint(self, state: Mapping[str, Any], step: int) -> None:
        """Do nothing: rank 0 saves."""

    def checkpoint_due(self, done: int, total: int | None = None, *, every: int | None = None) -> bool:
        return False


class _SameCheckpoint(CheckpointSession):
    """The checkpoint that rank 0 resumes from, for the same objects; nothing is written."""

    @cached_property
    def resumed(self) -> LoadedCheckpoint | None:
        if self._resumed_from is None:
            return None
        checkpoint = newest_verified(self._chain(self._resumed_from), lambda *damaged: None)
        return None if isinstance(checkpoint, list) else checkpoint

    def take_over(self, loaded: LoadedCheckpoint) -> None:
        self._first_step = self._newest_step = loaded.step


def started_by_rank_0(client: MlflowClient, run_id: str) -> PhaseRun:
    """Return the run, once rank 0 has begun to compute it.

    The process ends with 0 when rank 0 reuses an earlier run, and with 1 when the run has ended otherwise.

    Raises:
        MlflowException: The store was away for ten minutes.
    """
    starter, patience = os.getppid(), StorePatience(f"process {rank()}")
    while os.getppid() == starter:
        with suppress(StoreAway):
            run = phase_run(patience.read(lambda: client.get_run(run_id)))
            if run.reused_run_id:
                sys.exit(0)
            if run.computing and run.verdict in _STARTED and run.status == "RUNNING":
                return run
            if run.status != "RUNNING":
                sys.exit(1)
        time.sleep(_LOOK_EVERY_SECONDS)
    sys.exit(1)


@contextmanager
def following(client: MlflowClient, run_id: str) -> Iterator[None]:
    """Leave signals to rank 0 while the block is open: it needs this process to end its step.

    This process ends when its starter is gone, and when it was told to end and rank 0 is gone. An exception inside is
    one line of the log, and ends it with 1.
    """
    silence()
    asked_to_end = threading.Event()

    def wait_for_rank_0(number: int, frame: FrameType | None) -> None:
        asked_to_end.set()

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    main = threading.current_thread() is threading.main_thread()
    arguments = (client, run_id, asked_to_end, os.getppid())
    threading.Thread(target=_leave_in_time, args=arguments, name="follower", daemon=True).start()
    try:
        with signal_handlers(dict.fromkeys(signals if main else (), wait_for_rank_0)):
            yield
    except Exception as error:
        if not asked_to_end.is_set():  # Else it may only have been left alone by the others.
            text = str(error) if isinstance(error, PhaseError) else f"{type(error).__name__}: {error}"
            _logger.error(f"process {rank()}: {text}")
        sys.exit(1)


def _leave_in_time(client: MlflowClient, run_id: str, asked_to_end: threading.Event, starter: int) -> None:
    rank_0: Mapping[str, Any] | None = None
    while os.getppid() == starter and not (rank_0 and whereabouts(rank_0) == "gone"):
        asked_to_end.wait(_LOOK_EVERY_SECONDS)
        if asked_to_end.is_set():
            if rank_0 is None:
                with suppress(MlflowException):
                    rank_0 = phase_run(client.get_run(run_id)).heartbeat
            time.sleep(_LOOK_EVERY_SECONDS)
    os._exit(1)  # It may stand in a step that waits for rank 0 for ever.
