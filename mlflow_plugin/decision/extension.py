"""Go on from the end of a shorter run: a larger value of a parameter under `extend:` continues the work. Pure."""

from collections.abc import Mapping
from dataclasses import replace

from mlflow_plugin.decision.facts import Evidence, described
from mlflow_plugin.decision.verdict import Option, Verdict
from mlflow_plugin.project.parameters import Value, unquoted
from mlflow_plugin.store.run import PhaseRun

__all__ = ["extended", "grows"]


def grows(names: set[str], values: Mapping[str, Value], logged: Mapping[str, str]) -> str:
    """Describe how some parameters have grown since a run; empty when one of them has not, or is no number.

    Args:
        names: The parameters that differ.
        values: The values of the request.
        logged: The parameters that MLflow logged for the run.
    """
    said = []
    for name in sorted(names):
        try:
            before, now = float(unquoted(logged.get(name, ""))), float(str(values.get(name)))
        except ValueError:
            return ""
        if not before < now:
            return ""
        said.append(f"{name} {before:g} -> {now:g}")
    return ", ".join(said)


def extended(evidence: Evidence, verdict: Verdict) -> Verdict:
    """Return a verdict that goes on from a shorter run where it would compute the phase from its beginning."""
    fresh = verdict.action == "run" and verdict.kind in ("nothing", "beside")
    asks = verdict.action == "ask" and any(option.action == "run" for option in verdict.options)
    shorter = evidence.shorter() if evidence.phase.extend and (fresh or asks) else None
    if shorter is None:
        return verdict
    run = shorter.run
    reason = (
        f"goes on from {run.checkpoint} of {described(evidence.phase, run)} ({shorter.grown}), which stays as it is"
    )
    if fresh:
        reasons = (reason, *verdict.reasons[1:])
        return replace(verdict, action="resume", kind="extended", run_id=run.run_id, reasons=reasons)
    options = tuple(_going_on(option, evidence, run) for option in verdict.options)
    return replace(verdict, options=options, reasons=(*verdict.reasons, f"it {reason}"))


def _going_on(option: Option, evidence: Evidence, run: PhaseRun) -> Option:
    if option.action != "run":
        return option
    title = option.title.replace(f"Run {evidence.phase.name} again", f"Go on from {run.checkpoint} of {run.short}", 1)
    return replace(option, title=title, action="resume", run_id=run.run_id)
