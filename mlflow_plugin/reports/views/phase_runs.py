"""Runs of a phase as plain data, for JSON: ISO 8601 UTC, seconds, US dollars, never NaN."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mlflow_plugin.decision.quality import quality_of
from mlflow_plugin.format import finite
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


def iso(moment: datetime | None) -> str | None:
    """A time as text, or None."""
    return moment.isoformat() if moment else None


def run_dict(phase: Phase | None, run: PhaseRun) -> dict[str, Any]:
    """A run as plain data. `phase` is None for a run whose phase the project no longer declares."""
    return {
        "run_id": run.run_id,
        "short": run.short,
        "phase": run.phase,
        "status": run.status,
        "verdict": run.verdict or None,
        "reason": run.reason or None,
        "started_at": iso(run.started_at),
        "completed_at": iso(run.completed_at),
        "duration_seconds": finite(run.duration_seconds),
        "cost_usd": finite(run.cost_usd),
        "quality": finite(quality_of(phase, run)) if phase else None,
        "grade": phase.grade(run.metrics) if phase and run.complete else None,
        "gate_failures": phase.gate_failures(run.metrics) if phase and run.complete else [],
        "metrics": _metrics(phase, run) if phase else {},
        "hardware": run.hardware or None,
        "user": run.user or None,
        "inputs": dict(run.inputs),
        "reused_run_id": run.reused_run_id or None,
        "resumed_from": run.resumed_from or None,
        "successor": run.successor or None,
        "invalidated_by": run.invalidated_by or None,
        "quarantined": run.quarantined or None,
        "checkpoint": run.checkpoint or None,
        "estimated_seconds": finite(run.metrics.get(schema.ESTIMATED_SECONDS)),
        "estimated_usd": finite(run.metrics.get(schema.ESTIMATED_USD)),
        "saved_seconds": finite(run.metrics.get(schema.SAVED_SECONDS)),
        "saved_usd": finite(run.metrics.get(schema.SAVED_USD)),
        "answer": run.answer or None,
        "answered_by": run.answered_by or None,
        "answered_at": iso(run.answered_at),
        "parameters": {name: unquoted(value) for name, value in sorted(run.parameters.items())},
    }


def _metrics(phase: Phase, run: PhaseRun) -> dict[str, float | None]:
    """The metrics that the phase's quality and gates speak of."""
    wanted = {term for gate in phase.gates for term in (gate.left, gate.right)}
    wanted |= {phase.quality.metric} if phase.quality else set()
    return {name: finite(run.metrics[name]) for name in sorted(wanted) if name in run.metrics}


def quality_dict(phase: Phase, run: PhaseRun | None) -> dict[str, Any] | None:
    """A phase's bounds, and how a run (if there is one) stands to them; None for a phase without quality."""
    if phase.quality is None:
        return None
    quality = phase.quality
    return {
        "metric": quality.metric,
        "value": finite(quality_of(phase, run)) if run else None,
        "grade": quality.grade(quality_of(phase, run)) if run and run.complete else None,
        "good": quality.good,
        "poor": quality.poor,
        "higher_is_better": quality.higher_is_better,
    }


def gate_list(phase: Phase, metrics: Mapping[str, float] | None) -> list[dict[str, Any]]:
    """A phase's gates, each with whether these metrics pass it; unknown without metrics."""
    return [
        {"text": gate.text, "passed": None if metrics is None else gate.failure(metrics) is None}
        for gate in phase.gates
    ]


def phase_runs_view(history: History, phase: str, at_most: int = 500) -> dict[str, Any]:
    """The runs of a phase over time, newest first. Raises UsageError for a phase that the project does not declare."""
    declared = history.project.phase(phase)
    found = history.recent(phase, at_most + 1)
    return {
        "phase": phase,
        "quality": quality_dict(declared, None),
        "gates": gate_list(declared, None),
        "runs": [run_dict(declared, run) for run in found[:at_most]],
        "truncated": len(found) > at_most,
    }
