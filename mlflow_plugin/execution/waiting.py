"""Waiting for a duplicate run: another run that computes the same identity now."""

import logging
import time

from mlflow_plugin.decision.evidence import is_computing
from mlflow_plugin.format import describe_duration
from mlflow_plugin.machine.liveness import HEARTBEAT_SECONDS, Watch
from mlflow_plugin.machine.pausing import pause
from mlflow_plugin.store.history import History
from mlflow_plugin.store.patience import REPORT_EVERY_SECONDS, StoreAway, StorePatience
from mlflow_plugin.store.run import PhaseRun

_logger = logging.getLogger(__name__)

POLL_SECONDS = min(1.0, HEARTBEAT_SECONDS / 4)


def wait_for_duplicate(history: History, watch: Watch, run_id: str, phase: str) -> PhaseRun | None:
    """Wait until a duplicate run has completed, ended or died; return it as it is then, None when it was deleted."""
    patience = StorePatience(phase)
    began = reported = time.monotonic()
    doubted = False
    while True:
        try:
            duplicate = patience.read(lambda: _read(history, run_id))
        except StoreAway:
            pause(POLL_SECONDS)
            continue
        if duplicate is None or not is_computing(duplicate, watch):
            return _read(history, run_id)  # It may have completed after its tags were read, before its process ended.
        now = time.monotonic()
        still_watched = watch.doubtful(run_id, duplicate.heartbeat)
        if still_watched and not doubted:
            doubted = True
            where = duplicate.heartbeat.get("host")
            _logger.info(
                f"{phase}: {duplicate.short} on {where} looks dead; watching it for {still_watched:.0f} s more"
            )
        elif now - reported > REPORT_EVERY_SECONDS:
            reported = now
            waited = describe_duration(now - began)
            _logger.info(f"{phase}: still waiting for {duplicate.short}{_progress(duplicate)} ({waited})")
        pause(POLL_SECONDS)


def _read(history: History, run_id: str) -> PhaseRun | None:
    return History(history.client, history.experiment_id, history.project).run(run_id)


def _progress(run: PhaseRun) -> str:
    step, total = run.heartbeat.get("step"), run.heartbeat.get("total")
    if step is None:
        return ""
    return f", at step {step} of {total}" if total else f", at step {step}"
