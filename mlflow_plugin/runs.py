"""What the tracking store says of one run of a phase, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.names import short

BEGINNING = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class PhaseRun:
    """One recorded execution of a phase. Times are UTC; `outputs` is what `artifacts.OutputFiles` reads; `experiments`
    are those of its ancestors; `heir` is the run that took its work over; `bad_checkpoints` says what is wrong by name;
    `claim` is what it wrote when it contended to compute; `presumed_dead` when its heart was found to have stopped.
    `computing` tells that it began to compute, which a reuse or a question does not.
    `name` and `note` are what people see of it in the MLflow UI: its name and its description.
    """

    run_id: str
    phase: str
    project: str = ""
    experiment_id: str = "0"
    artifact_uri: str = ""
    status: str = "RUNNING"
    started_at: datetime = BEGINNING
    completed_at: datetime | None = None
    verdict: str = ""
    computing: bool = False
    reason: str = ""
    reused_run_id: str = ""
    resumed_from: str = ""
    heir: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    ancestors: frozenset[str] = frozenset()
    experiments: frozenset[str] = frozenset()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    output_digest: str = ""
    outputs: Mapping[str, Any] | None = None
    quarantined: str = ""
    quarantined_at: datetime | None = None
    quarantined_by: str = ""
    invalidated_by: str = ""
    heartbeat: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: str = ""
    first_checkpoint: str = ""
    bad_checkpoints: Mapping[str, str] = field(default_factory=dict)
    question: Mapping[str, Any] = field(default_factory=dict)
    answer: str = ""
    answered_by: str = ""
    answered_at: datetime | None = None
    hardware: str = ""
    hardware_key: str = ""
    user: str = ""
    claim: str = ""
    presumed_dead: str = ""
    parent_run_id: str = ""
    name: str = ""
    note: str = ""

    @property
    def complete(self) -> bool:
        return self.completed_at is not None

    @property
    def asks(self) -> bool:
        """Whether it ended, or stands, at a question."""
        return self.verdict == "ask" and bool(self.question)

    @property
    def short(self) -> str:
        return short(self.run_id)

    @property
    def duration_seconds(self) -> float | None:
        return self.metrics.get("phase.duration_seconds")

    @property
    def cost_usd(self) -> float | None:
        return self.metrics.get("phase.cost_usd")

    @property
    def when(self) -> datetime:
        return self.completed_at or self.started_at
