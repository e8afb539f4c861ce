"""One run of a phase as plain data, as the tracking store has it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.format import short
from mlflow_plugin.store.lock import WITHDRAWN

BEGINNING = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class PhaseRun:
    """One recorded run of a phase. Times are UTC.

    `outputs` is what `artifacts.OutputFiles` reads; `reads` is what `traces` reads; `findings` is what became of the
    files that the verdict on this run compared; `experiments` are those of its ancestors; `successor` is the run
    that took over its work; `bad_checkpoints` maps a checkpoint's name to what is wrong with it; `lock_entry` is its
    entry for the lock on its identity; `presumed_dead` is the time at which its heartbeat was found to be lost.
    `source` is the folder of its project, where it was computed.
    `stored_phase` is the name of the phase in the store, where the project that reads it calls the phase by another.
    `steps` maps each step that it started by `mlflow.run` to the runs that count for it.
    `beside` says why it left `latest` as it is; `kept` maps the digest of a question to the JSON of the answer by which
    a person kept this run.
    `computing` is True once it has begun to compute, which a reuse or a question never does. `name` and `note` are its
    name and description in the MLflow UI.
    `unreadable` says what in the store is nonsense so that nothing may be built on the run; `ignored` what is nonsense,
    was left out, and says nothing about its result. One sentence each.
    A set of runs, which a phase with a matrix leaves, is a run too: `members` are the ids of its runs in the order of
    the matrix, `member_runs` the same runs where they were read, and `matrix` says what was asked for.
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
    successor: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    ancestors: frozenset[str] = frozenset()
    experiments: frozenset[str] = frozenset()
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    output_digest: str = ""
    outputs: Mapping[str, Any] | None = None
    reads: Mapping[str, Any] = field(default_factory=dict)
    findings: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Sequence[str]] = field(default_factory=dict)
    quarantined: str = ""
    quarantined_at: datetime | None = None
    quarantined_by: str = ""
    invalidated_by: str = ""
    beside: str = ""
    kept: Mapping[str, str] = field(default_factory=dict)
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
    lock_entry: str = ""
    presumed_dead: str = ""
    parent_run_id: str = ""
    name: str = ""
    note: str = ""
    stored_phase: str = ""
    source: str = ""
    members: tuple[str, ...] = ()
    member_runs: "tuple[PhaseRun, ...]" = ()
    matrix: Mapping[str, Any] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def own_phase(self) -> str:
        """The name of the phase in its own MLproject file."""
        return self.stored_phase or self.phase

    @property
    def complete(self) -> bool:
        return self.completed_at is not None

    @property
    def is_open(self) -> bool:
        """True while the run is on its way to completion, as far as the store knows.

        A script can end its MLflow run before its outputs are digested, so FINISHED without the completion marker
        counts; so does a run that was presumed dead, since its process may be alive after all.
        """
        on_its_way = self.status in ("RUNNING", "FINISHED") or (self.status == "KILLED" and bool(self.presumed_dead))
        return on_its_way and not self.complete and self.lock_entry != WITHDRAWN

    @property
    def asks(self) -> bool:
        """True if it waits at a question, or ended with one."""
        return self.verdict == "ask" and bool(self.question)

    @property
    def short(self) -> str:
        return short(self.run_id)

    @property
    def duration_seconds(self) -> float | None:
        return self.metrics.get("phase.duration_seconds")

    @property
    def own_share(self) -> float:
        """The share of its duration that was not spent in steps that it started: these are reused by themselves."""
        duration, steps = self.duration_seconds or 0.0, self.metrics.get("phase.steps_seconds", 0.0)
        return max(0.0, 1 - steps / duration) if duration > 0 and 0 < steps < math.inf else 1.0

    @property
    def cost_usd(self) -> float | None:
        return self.metrics.get("phase.cost_usd")

    @property
    def when(self) -> datetime:
        return self.completed_at or self.started_at

    @property
    def is_set(self) -> bool:
        """True for a run above those of a matrix, also for one that reuses an earlier set."""
        return bool(self.members or self.matrix)

    @property
    def each(self) -> "tuple[PhaseRun, ...]":
        """The runs of a set; any other run alone."""
        return self.member_runs or (self,)
