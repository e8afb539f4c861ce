"""Acquiring the lock on an identity, so that of several duplicate runs one computes. See `store.lock`."""

import logging
import time
from collections.abc import Sequence

from mlflow_plugin.decision.evidence import is_computing
from mlflow_plugin.decision.request import Decision
from mlflow_plugin.execution.records import Records
from mlflow_plugin.execution.waiting import POLL_SECONDS
from mlflow_plugin.machine.liveness import Watch
from mlflow_plugin.machine.pausing import pause
from mlflow_plugin.store.lock import WITHDRAWN, LockEntry, acquire, lock_number
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)


class Acquisition:
    """The competition of one run for the lock on the identity of a decision.

    Args:
        records: Writes the run's entries.
        run_id: The run that competes.
        decision: Names the identity.
        watch: Tells which rivals are alive.
    """

    def __init__(self, records: Records, run_id: str, decision: Decision, watch: Watch) -> None:
        self._records, self._run_id, self._decision, self._watch = records, run_id, decision, watch

    def holder(self) -> str:
        """Compete, and return the id of the run that holds the lock: this run's own when it may compute."""
        competition, began = acquire(self._run_id), time.monotonic()
        entry, seconds, reported = next(competition), 0.02, False
        while True:
            if entry is not None:
                self._records.write_lock_entry(self._run_id, self._decision, entry)
            try:
                following = competition.send(self._rivals() if entry is None else ())
            except StopIteration as end:
                return str(end.value)
            if entry is None and following is None:
                if not reported and time.monotonic() - began > 2:
                    reported = True
                    phase = self._decision.request.phase.name
                    _logger.info(f"{phase}: another run starts the same work now; finding out which of them computes")
                pause(seconds)
                seconds = min(2 * seconds, POLL_SECONDS)
            entry = following

    def withdraw(self) -> None:
        """Take the run's entry back, so that it stands in nobody's way."""
        self._records.write_lock_entry(self._run_id, self._decision, WITHDRAWN)

    def take_over(self, abandoned: Sequence[PhaseRun]) -> bool:
        """Take over the work of dead runs of this identity. Returns False when one of them had completed by then.

        Args:
            abandoned: Runs of the identity that lost their heartbeat, besides those with an entry for the lock.
        """
        dead = [run for run in self._others() if run.is_open and not is_computing(run, self._watch)]
        runs = {run.run_id: run for run in (*dead, *abandoned)}
        return all(self._records.take_over(run, self._run_id) for run in runs.values())

    def _rivals(self) -> Sequence[LockEntry]:
        live = [run for run in self._others() if is_computing(run, self._watch)]
        return [LockEntry(run.run_id, lock_number(run.lock_entry)) for run in live]

    def _others(self) -> list[PhaseRun]:
        assert self._decision.identity is not None
        entries = self._decision.history.lock_entries(self._decision.identity)
        return [run for run in entries if run.run_id != self._run_id]
