"""Judge how good a run is, by the thresholds and gates of its phase. Pure."""

from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.run import PhaseRun


def quality_of(phase: Phase, run: PhaseRun) -> float | None:
    """Return the value of the phase's quality metric in a run; None when there is none."""
    return run.metrics.get(phase.quality.metric) if phase.quality else None


def borderline_reasons(phase: Phase, run: PhaseRun) -> list[str]:
    """Say why a complete run is neither good nor poor; empty when it is one of the two."""
    grade = phase.grade(run.metrics)
    if grade == "gate":
        return phase.gate_failures(run.metrics)
    if phase.quality is None or grade in ("good", "poor"):
        return []
    metric, quality = phase.quality.metric, quality_of(phase, run)
    if quality is None:
        return [f"its quality is not known: metric {metric!r} was never logged; log it to that run, or answer"]
    if grade == "unknown":
        return [f"its quality is not known: metric {metric!r} is {quality}"]
    return [f"its {metric} {quality:.4g} lies between poor ({phase.quality.poor:g}) and good ({phase.quality.good:g})"]


def quality_cell(phase: Phase, run: PhaseRun | None) -> str:
    """Return a run's quality and grade in a few words; empty for a phase without quality."""
    if phase.quality is None or run is None:
        return ""
    value = quality_of(phase, run)
    text = "unknown" if value is None else f"{value:.4g}"
    return f"{phase.quality.metric} {text} ({phase.grade(run.metrics)})"


def quality_text(phase: Phase | None, run: PhaseRun) -> str:
    """Return a run's quality beside both thresholds; empty for a phase without quality."""
    quality = phase.quality if phase else None
    if quality is None:
        return ""
    value = run.metrics.get(quality.metric)
    text = "unknown: it was never logged" if value is None else f"{value:.4g}: {quality.grade(value)}"
    good, poor = ("from", "below") if quality.higher_is_better else ("up to", "above")
    return f"{quality.metric} {text} (good {good} {quality.good:g}, poor {poor} {quality.poor:g})"


def gates_text(phase: Phase, run: PhaseRun) -> str:
    """Say of each gate whether it passes, else why not."""
    gates = [(gate.text, gate.failure_of_run(run.metrics)) for gate in phase.gates]
    return "; ".join(failure or f"{text} passes" for text, failure in gates)
