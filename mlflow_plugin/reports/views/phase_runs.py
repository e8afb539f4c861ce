"""Runs of a phase as models: seconds, US dollars, never NaN."""

from collections.abc import Mapping
from typing import Any

from mlflow_plugin.decision.quality import quality_of
from mlflow_plugin.format import finite
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import Phase
from mlflow_plugin.reports import models
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.untrusted import moment, number, texts


def run_model(phase: Phase | None, run: PhaseRun) -> models.Run:
    """Return a run as the page shows it. `phase` is None when the project no longer declares the run's phase."""
    return models.Run(
        run_id=run.run_id,
        short=run.short,
        phase=run.phase,
        status=run.status,
        verdict=models.ACTIONS.get(run.verdict),
        reason=run.reason or None,
        started_at=run.started_at,
        completed_at=run.completed_at,
        duration_seconds=finite(run.duration_seconds),
        cost_usd=finite(run.cost_usd),
        quality=finite(quality_of(phase, run)) if phase else None,
        grade=models.GRADES[phase.grade(run.metrics)] if phase and run.complete else None,
        gate_failures=phase.gate_failures(run.metrics) if phase and run.complete else [],
        metrics=_metrics(phase, run) if phase else {},
        hardware=run.hardware or None,
        user=run.user or None,
        findings=_findings(run.findings),
        inputs=dict(run.inputs),
        reused_run_id=run.reused_run_id or None,
        resumed_from=run.resumed_from or None,
        successor=run.successor or None,
        invalidated_by=run.invalidated_by or None,
        quarantined=run.quarantined or None,
        checkpoint=run.checkpoint or None,
        estimated_seconds=finite(run.metrics.get(schema.ESTIMATED_SECONDS)),
        estimated_usd=finite(run.metrics.get(schema.ESTIMATED_USD)),
        saved_seconds=finite(run.metrics.get(schema.SAVED_SECONDS)),
        saved_usd=finite(run.metrics.get(schema.SAVED_USD)),
        answer=run.answer or None,
        answered_by=run.answered_by or None,
        answered_at=run.answered_at,
        parameters={name: unquoted(value) for name, value in sorted(run.parameters.items())},
    )


def _findings(recorded: Mapping[str, Any]) -> models.Findings | None:
    """Return the findings that a verdict left on its run. Anybody can write a tag: malformed parts are left out."""
    if not recorded:
        return None
    return models.Findings(
        changed=list(texts(recorded.get("changed"))),
        unclear=list(texts(recorded.get("unclear"))),
        mentions=list(texts(recorded.get("mentions"))),
        compared=int(number(recorded.get("compared")) or 0),
        at=moment(str(recorded.get("at") or "")),
    )


def _metrics(phase: Phase, run: PhaseRun) -> dict[str, float | None]:
    """Return the metrics that the phase's quality and gates use."""
    return {name: finite(run.metrics[name]) for name in sorted(phase.judged_metrics) if name in run.metrics}


def quality_model(phase: Phase, run: PhaseRun | None) -> models.Quality | None:
    """Return a phase's thresholds with the value of a run, if there is one; None for a phase without quality."""
    if phase.quality is None:
        return None
    quality = phase.quality
    return models.Quality(
        metric=quality.metric,
        value=finite(quality_of(phase, run)) if run else None,
        grade=models.GRADES[quality.grade(quality_of(phase, run))] if run and run.complete else None,
        good=quality.good,
        poor=quality.poor,
        higher_is_better=quality.higher_is_better,
    )


def gate_models(phase: Phase, metrics: Mapping[str, float] | None) -> list[models.Gate]:
    """Return a phase's gates, each checked against metrics; not known without metrics."""
    return [
        models.Gate(text=gate.text, passed=None if metrics is None else gate.failure_of_run(metrics) is None)
        for gate in phase.gates
    ]


def phase_runs_view(history: History, phase: str, at_most: int = 500) -> models.PhaseRuns:
    """Return the newest runs of a phase, newest first.

    Raises:
        UsageError: The project does not declare the phase.
    """
    declared = history.project.phase(phase)
    recent = history.recent(phase, at_most + 1)
    return models.PhaseRuns(
        phase=phase,
        quality=quality_model(declared, None),
        gates=gate_models(declared, None),
        runs=[run_model(declared, run) for run in recent[:at_most]],
        truncated=len(recent) > at_most,
    )
