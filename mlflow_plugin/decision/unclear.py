"""Rules for what cannot be known: they ask whatever a run costs. Pure."""

from dataclasses import replace

from mlflow_plugin.decision.asking import (
    again_option,
    ask,
    ask_to_keep,
    ask_to_resume,
    inputs_option,
    keep_option,
    price_of,
)
from mlflow_plugin.decision.facts import Evidence, described, superseded_run, usable
from mlflow_plugin.decision.superseding import superseded_by_running
from mlflow_plugin.decision.verdict import Option, Verdict
from mlflow_plugin.format import describe_duration
from mlflow_plugin.store.run import PhaseRun


def assumed(evidence: Evidence) -> Verdict | None:
    """Ask about a good run of which the value of a parameter is not known."""
    phase = evidence.phase
    for candidate in usable(evidence.same):
        if not candidate.assumed or phase.grade(candidate.run.metrics) != "good":
            continue
        findings = evidence.observed(candidate.run)
        if not findings.changed:
            reasons = (f"{described(phase, candidate.run)} exists", *candidate.assumed, *findings.unclear)
            return replace(ask_to_keep(evidence, "assumed", candidate.run, reasons), observed=findings)
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
    if candidate is None or evidence.observed(candidate.run).changed:
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


def handover(evidence: Evidence, verdict: Verdict) -> Verdict:
    """Ask before a phase computes on files in the project that are not known to be those of its inputs."""
    if verdict.action not in ("run", "resume") or verdict.kind in ("forced", "missing"):
        return verdict
    found = evidence.handover()
    if not found.unknown and not found.by_hand:
        return verdict
    phase = evidence.phase.name
    first = "Move aside what was made by hand" if found.by_hand else "Use what lies in the project"
    title = f"{first} and {verdict.action} {phase}"
    run = Option("", "reuse", title, (), verdict.invalidates, (phase,), *price_of(evidence), action=verdict.action)
    reasons = (*found.unknown, *found.by_hand, *verdict.reasons)
    question = ask(evidence, "handover", None, reasons, (run,), verdict.invalidates)
    return replace(question, run_id=verdict.run_id, observed=verdict.observed, beside=verdict.beside)


def old(evidence: Evidence) -> Verdict | None:
    """Ask before the phase is computed from inputs that are older than `max_age`."""
    names = old_inputs(evidence)
    return ask_old(evidence, None, tuple(names)) if names else None


def ask_old(evidence: Evidence, kept: PhaseRun | None, reasons: tuple[str, ...]) -> Verdict:
    """Ask if a run counts, or is made, although inputs are too old."""
    names = _too_old(evidence)
    keep = keep_option(evidence, kept, (superseded_run(evidence.phase, kept),)) if kept else inputs_option(evidence)
    renews = tuple(name for name in names if name in evidence.phase.needs)
    stop = Option("", "fail", f"Stop, and update {' and '.join(names)} first", renews=renews)
    superseded = () if kept else superseded_by_running(evidence)
    return ask(evidence, "old", kept, reasons, (keep, stop), superseded)


def old_inputs(evidence: Evidence) -> list[str]:
    """Describe the inputs that are older than `max_age`."""
    limit = evidence.phase.max_age_seconds
    if limit is None:
        return []
    return [
        f"{name} is {describe_duration(age)} old; max_age is {describe_duration(limit)}"
        for name, age in evidence.input_ages.items()
        if age > limit
    ]


def _too_old(evidence: Evidence) -> list[str]:
    limit = evidence.phase.max_age_seconds or 0.0
    return [name.split(" ")[0] for name, age in evidence.input_ages.items() if age > limit]
