"""Rules for what cannot be known: they ask whatever a run costs. Pure."""

from mlflow_plugin.decision.asking import again_option, ask, ask_to_keep, ask_to_resume, inputs_option
from mlflow_plugin.decision.facts import Evidence, described, usable
from mlflow_plugin.decision.superseding import superseded_by_running
from mlflow_plugin.decision.verdict import Option, Verdict


def assumed(evidence: Evidence) -> Verdict | None:
    """Ask about a good run of which the value of a parameter is not known."""
    phase = evidence.phase
    for candidate in usable(evidence.same):
        if candidate.assumed and phase.grade(candidate.run.metrics) == "good":
            reasons = (f"{described(phase, candidate.run)} exists", *candidate.assumed)
            return ask_to_keep(evidence, "assumed", candidate.run, reasons)
    return None


def unreachable(evidence: Evidence) -> Verdict | None:
    """Ask when a good run exists whose files cannot be looked for here: a missing disk is no reason to compute."""
    phase = evidence.phase
    for candidate in evidence.same:
        run = candidate.run
        if not (candidate.unreachable and run.complete) or candidate.quarantine_reason:
            continue
        if phase.grade(run.metrics) != "good":
            continue
        where = candidate.unreachable
        reasons = (
            f"{described(phase, run)} has the same parameters, code and inputs",
            f"its files cannot be looked for: {where} is missing or empty here; it may be unmounted or have been moved",
        )
        superseded = superseded_by_running(evidence, run)
        options = (
            Option("", "fail", f"Stop, and bring back {where} first"),
            again_option(evidence, superseded),
        )
        return ask(evidence, "unseen", run, reasons, options, superseded)
    return None


def edited(evidence: Evidence) -> Verdict | None:
    """Ask about the checkpoint of a run that was interrupted before its code was edited."""
    candidate = evidence.edited()
    if candidate is None:
        return None
    name = described(evidence.phase, candidate.run)
    reasons = (
        f"{name} was interrupted, with the same parameters and inputs, and has {candidate.run.checkpoint}",
        f"it differs in {candidate.differs}",
        *candidate.assumed,
    )
    return ask_to_resume(evidence, "edited", candidate, reasons)


def generations(evidence: Evidence) -> Verdict | None:
    """Ask before the phase is computed from inputs that were made from different results of one earlier phase."""
    mixed = evidence.generations()
    if not mixed.sentences:
        return None
    superseded = superseded_by_running(evidence)
    options = (
        inputs_option(evidence),
        Option("", "fail", f"Stop, and update {' and '.join(mixed.outdated)} first", renews=mixed.outdated),
    )
    return ask(evidence, "generations", None, mixed.sentences, options, superseded)
