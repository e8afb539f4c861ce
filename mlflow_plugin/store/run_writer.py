"""Write single entries on a run: heartbeats, checkpoints, answers, quarantine."""

import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mlflow.entities import Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import TakenOverError
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import phase_run
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_encoding import NOTE, clipped, dumps, now, user

_BATCH = 100


class RunWriter:
    """Writes one thing about one run. Every method leaves the store readable when it is the last one."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client

    def metrics(self, run_id: str, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step."""
        metrics = _metrics(values, step)
        for start in range(0, len(metrics), 1000):
            self.client.log_batch(run_id, metrics=metrics[start : start + 1000])

    def describe(self, run_id: str, markdown: str) -> None:
        """Set a run's description in the MLflow UI."""
        self.client.set_tag(run_id, NOTE, clipped(markdown))

    def _tag(self, run_id: str, tags: Mapping[str, str], metrics: Mapping[str, float] | None = None) -> None:
        """Write tags, and a few metrics along with them."""
        listed = [RunTag(key, value) for key, value in tags.items()]
        measured = _metrics(metrics or {})
        for start in range(0, len(listed), _BATCH):
            self.client.log_batch(run_id, metrics=[] if start else measured, tags=listed[start : start + _BATCH])

    def end(self, run_id: str, status: str) -> None:
        """End a run with this status."""
        self.client.set_terminated(run_id, status)

    # --- while it computes ---

    def heartbeat(self, run: PhaseRun, content: Mapping[str, Any]) -> None:
        """Write a heartbeat. If the run was presumed dead meanwhile, that is undone."""
        self.client.set_tag(run.run_id, schema.HEARTBEAT, dumps(content))
        if run.presumed_dead and run.status == "KILLED":
            self._tag(run.run_id, {schema.REASON: f"alive, although its heartbeat was lost at {run.presumed_dead}"})
            self.client.update_run(run.run_id, status="RUNNING")
            self.client.delete_tag(run.run_id, schema.PRESUMED_DEAD)

    def first_checkpoint(self, run_id: str, name: str) -> None:
        """Record that there may be checkpoints from now on."""
        self.client.set_tag(run_id, schema.FIRST_CHECKPOINT, name)

    def checkpoint(self, run_id: str, name: str) -> None:
        """Record the newest checkpoint."""
        self.client.set_tag(run_id, schema.CHECKPOINT, name)

    def newest_checkpoint(self, run: PhaseRun, name: str) -> None:
        """Correct the newest checkpoint of a run; none for an empty name."""
        if name and name != run.checkpoint:
            self.checkpoint(run.run_id, name)
        elif run.checkpoint and not name:
            self.client.delete_tag(run.run_id, schema.CHECKPOINT)

    def bad_checkpoint(self, run_id: str, name: str, why: str) -> None:
        """Record that a checkpoint is damaged, so that it is not read again."""
        with suppress(MlflowException):  # Without write access the next reader finds it damaged again.
            known = dict(phase_run(self.client.get_run(run_id)).bad_checkpoints)
            newest = list({**known, name: why[:120]}.items())[-40:]  # What fits into a tag.
            self.client.set_tag(run_id, schema.BAD_CHECKPOINTS, dumps(dict(newest)))

    def check_owner(self, run_id: str) -> None:
        """Raise TakenOverError when another run has taken over a run's work."""
        if successor := self.client.get_run(run_id).data.tags.get(schema.SUCCESSOR):
            raise TakenOverError(
                f"run {successor} has taken over the work of run {run_id}, whose process had stood still. It resumes "
                "from "
                "the last complete checkpoint; nothing was overwritten, and this process ends here."
            )

    # --- answers ---

    def answer(self, run_id: str, letter: str, by: str, at: str = "") -> None:
        """Write the answer that counts. `at` is ISO 8601; empty for just now."""
        # Who answered and when is written first: the letter is what others look for.
        self._tag(run_id, {schema.ANSWERED_BY: by, schema.ANSWERED_AT: at or now()})
        self._tag(run_id, {schema.ANSWER: letter})

    def propose_answer(self, run_id: str, letter: str, by: str, at: str, asked_at: str) -> str:
        """Write an answer to the question asked at that time, for the waiting process to accept; return its tag."""
        proposal = {"letter": letter, "by": by, "at": at, "asked_at": asked_at}
        tag = f"{schema.PROPOSED_ANSWER}{uuid.uuid4().hex}"
        self.client.set_tag(run_id, tag, dumps(proposal))
        return tag

    def withdraw_proposal(self, run_id: str, tag: str) -> None:
        """Take back an answer that was not accepted."""
        self.client.set_tag(run_id, tag, "{}")

    def withdraw_answer(self, run_id: str) -> None:
        """Take back an answer that no longer fits the question."""
        for name in (schema.ANSWER, schema.ANSWERED_BY, schema.ANSWERED_AT):
            with suppress(MlflowException):  # It was not accepted yet.
                self.client.delete_tag(run_id, name)

    # --- marks on other runs ---

    def invalidate(self, run_ids: Iterable[str], by_run_id: str) -> None:
        """Record on runs that another run supersedes them or makes them stale."""
        for run_id in sorted(set(run_ids) - {by_run_id}):
            with suppress(MlflowException):  # A run that was deleted meanwhile needs no mark.
                self._tag(run_id, {schema.INVALIDATED_BY: by_run_id})  # Not `set_tag`: two runs may mark one at once.

    def quarantine(self, run_id: str, reason: str) -> None:
        """Quarantine a run, with the time and the user."""
        content = dumps({"at": now(), "by": user()})
        self._tag(run_id, {schema.QUARANTINED: clipped(reason), schema.QUARANTINE: content})

    def lift_quarantine(self, run_id: str) -> None:
        """Lift a run's quarantine."""
        self.client.delete_tag(run_id, schema.QUARANTINED)
        with suppress(MlflowException):  # Marks of earlier versions have none.
            self.client.delete_tag(run_id, schema.QUARANTINE)


def _metrics(values: Mapping[str, float], step: int = 0) -> list[Metric]:
    stamp = int(time.time() * 1000)
    return [Metric(name, float(value), stamp, step) for name, value in values.items()]
