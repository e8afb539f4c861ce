"""The rules that turn evidence into a verdict. Pure: no MLflow, no clock, no files.

The rules are the functions in `RULES`; the first that returns a verdict decides. `docs/verdicts.md` has them as a
table.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from mlflow_plugin.decision.asking import (
    again_option,
    ask,
    ask_to_keep,
    ask_to_resume,
    beside_option,
    keep_option,
)
from mlflow_plugin.decision.extension import extended
from mlflow_plugin.decision.facts import Candidate, Evidence, described, left_out, superseded_run, usable
from mlflow_plugin.decision.outdated import read_and_changed
from mlflow_plugin.decision.promotion import ask_promotion, promotion_reasons
from mlflow_plugin.decision.quality import borderline_reasons, quality_of
from mlflow_plugin.decision.superseding import is_costly, superseded_by_running, superseding_sentence
from mlflow_plugin.decision.unclear import ask_old, assumed, edited, generations, handover, old, old_inputs, unreachable
from mlflow_plugin.decision.verdict import SupersededRun, Verdict
from mlflow_plugin.format import clock, short
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.vocabulary import Kind
from mlflow_plugin.store.run import PhaseRun

__all__ = ["RULES", "Candidate", "Evidence", "decide", "force", "run_beside", "superseded_run"]


def decide(evidence: Evidence) -> Verdict:
    """Return the verdict of the first rule that applies, or the question that comes before it."""
    decided = next((verdict for rule in RULES if (verdict := rule(evidence))), None)
    return handover(evidence, extended(evidence, decided or _run(evidence)))


def force(evidence: Evidence) -> Verdict:
    """Return the verdict for `decide=rerun`: run, naming the runs that are superseded."""
    graded = [one for one in usable(evidence.same) if evidence.phase.grade(one.run.metrics) not in ("poor", "unknown")]
    superseded = superseded_by_running(evidence, graded[0].run if graded else None)
    listed = [f"supersedes {one.sentence()}" for one in superseded]
    unless = ["or none of them, if it gives the same bytes as before"] if listed else []
    return _computed(evidence, "forced", ("re-run because decide=rerun was given", *listed, *unless), superseded)


def run_beside(evidence: Evidence, question: Verdict) -> Verdict:
    """Return the verdict for `decide=beside` in place of a question: run, and leave `latest` as it is."""
    return _computed(evidence, "beside", (f"computed beside ({evidence.beside})", *question.reasons))


def _computed(
    evidence: Evidence, kind: Kind, reasons: tuple[str, ...], superseded: tuple[SupersededRun, ...] = ()
) -> Verdict:
    return Verdict(
        evidence.phase.name,
        "run",
        reasons,
        kind=kind,
        invalidates=superseded,
        estimate=evidence.estimate(),
        inputs=evidence.input_ids(),
        beside=evidence.beside,
    )


_KIND_OF_GRADE: Mapping[str, Kind] = {"borderline": "borderline", "gate": "gate", "unknown": "unknown"}

# --- the rules, first match wins ------------------------------------------------------------------------------------


def _missing(evidence: Evidence) -> Verdict | None:
    if not evidence.missing_inputs:
        return None
    needs = ", ".join(evidence.missing_inputs)
    return Verdict(
        evidence.phase.name,
        "run",
        (
            f"{needs} must run first: it has no run that is complete, good enough and not quarantined",
            *evidence.unreadable_inputs(),
        ),
        kind="missing",
        estimate=evidence.estimate(),
        inputs=evidence.input_ids(),
    )


def _good(evidence: Evidence) -> Verdict | None:
    """Reuse the newest good run of which nothing that it read has changed; ask if that cannot be told of any."""
    phase = evidence.phase
    unclear: tuple[PhaseRun, Findings] | None = None
    for candidate in usable(evidence.same):
        run = candidate.run
        if phase.grade(run.metrics) != "good" or candidate.assumed:
            continue
        findings = evidence.observed(run)
        if findings.changed:
            continue
        if findings.unclear:
            unclear = unclear or (run, findings)
            continue
        if too_old := old_inputs(evidence):
            return ask_old(evidence, run, (*too_old, f"{described(phase, run)} was made with them"))
        if run.beside and not evidence.beside and (question := ask_promotion(evidence, run)):
            return question
        bound = f" >= {phase.quality.good:g}" if phase.quality and phase.quality.higher_is_better else ""
        reason = f"{described(phase, run)}{bound}: {_sameness(findings)}"
        return Verdict(
            phase.name,
            "reuse",
            (
                reason,
                *_input_reasons(evidence, run),
                *findings.mentions,
                *promotion_reasons(evidence, run),
                *left_out(run),
            ),
            kind="same",
            run_id=run.run_id,
            quality=quality_of(phase, run),
            inputs=dict(run.inputs),
            observed=findings,
            beside=evidence.beside,
        )
    if unclear is None:
        return None
    run, findings = unclear
    reason = f"{described(phase, run)} has the same parameters and code, but not everything can be compared"
    question = ask_to_keep(evidence, "unseen", run, (reason, *findings.unclear, *findings.mentions))
    return replace(question, observed=findings)


def _sameness(findings: Findings) -> str:
    """Say what is the same. Nothing is called the same that was not compared."""
    if not findings.complete:
        return "same parameters and code"
    if not findings.compared:
        return "same parameters, code and inputs"
    files = "the file that it read is" if findings.compared == 1 else f"all {findings.compared} files that it read are"
    return f"same parameters, code and inputs; {files} unchanged"


def _input_reasons(evidence: Evidence, run: PhaseRun) -> list[str]:
    return [
        f"{need} {latest.short} of {clock(latest.when)} gives the same bytes as {short(used)}, which it was made from"
        for need, used in run.inputs.items()
        if (latest := evidence.inputs.get(need)) and latest.run_id != used
    ]


def _live(evidence: Evidence) -> Verdict | None:
    for candidate in evidence.same:
        if candidate.live and not candidate.run.complete and not candidate.quarantine_reason:
            run = candidate.run
            reason = f"{described(evidence.phase, run)} computes the same thing now; waiting for it, to reuse it"
            return Verdict(
                evidence.phase.name, "wait", (reason,), kind="live", run_id=run.run_id, inputs=evidence.input_ids()
            )
    return None


def _interrupted_or_borderline(evidence: Evidence) -> Verdict | None:
    """Take the newest run that is resumable or neither good nor poor: the newest shows what was wanted."""
    phase = evidence.phase
    for candidate in evidence.same:
        run = candidate.run
        if candidate.quarantine_reason or candidate.faults or evidence.observed(run).changed:
            continue
        if candidate.resumable and not candidate.live and not run.complete:
            if candidate.assumed:
                return ask_to_resume(evidence, "assumed", candidate, candidate.assumed)
            reason = f"{described(phase, run)} was interrupted; resuming from {run.checkpoint}"
            return Verdict(
                phase.name,
                "resume",
                (reason,),
                kind="interrupted",
                run_id=run.run_id,
                estimate=evidence.estimate(),
                inputs=evidence.input_ids(),
                beside=evidence.beside,
            )
        if run.complete and (why := borderline_reasons(phase, run)):
            reasons = (f"{described(phase, run)} exists, with the same inputs", *why, *candidate.assumed)
            return ask_to_keep(evidence, _KIND_OF_GRADE[phase.grade(run.metrics)], run, reasons)
    return None


def _stale(evidence: Evidence) -> Verdict | None:
    phase = evidence.phase
    if evidence.beside:
        return None
    for candidate in usable(evidence.stale()):
        run = candidate.run
        if phase.grade(run.metrics) == "poor":
            continue
        reasons = []
        for need, used in run.inputs.items():
            latest = evidence.inputs.get(need)
            before = evidence.input_runs(used)
            same_bytes = (
                before is not None
                and bool(before.output_digest)
                and latest is not None
                and before.output_digest == latest.output_digest
            )
            if latest is None or latest.run_id == used or same_bytes:
                continue
            made = f" of {clock(before.when)}" if before else ""
            newest = "latest" if before is None or latest.when >= before.when else "chosen"
            reasons.append(
                f"{described(phase, run)} was made from {need} {short(used)}{made}; "
                f"the {newest} {need} is {latest.short} of {clock(latest.when)} and its output differs"
            )
        if reasons:
            superseded = superseded_by_running(evidence, run)
            if not is_costly(evidence, superseded):
                return None
            return ask_to_keep(evidence, "stale", run, (*reasons, *borderline_reasons(phase, run)))
    return None


def _would_supersede(evidence: Evidence) -> Verdict | None:
    """Ask when the run would supersede a good run of the phase, or make good runs stale, that are costly."""
    if _is_repair(evidence):
        return None
    superseded = superseded_by_running(evidence)
    own, current, phase = evidence.replaced(), evidence.current(), evidence.phase
    kept = own or current
    if kept is None or not is_costly(evidence, superseded):
        return None
    reasons = [f"running {phase.name} would supersede {described(phase, own)}"] if own else []
    later = [run for run in superseded if run.phase != phase.name]
    if later:
        count = f"{len(later)} good downstream run{'s' if len(later) > 1 else ''}"
        they_were = "they were" if len(later) > 1 else "it was"
        made_from = (current or kept).short
        reasons.append(f"running {phase.name} would make {count} stale: {they_were} made from {made_from}")
    why, observed = _why_not_reused(evidence)
    reasons += why
    options = [keep_option(evidence, kept, superseded), again_option(evidence, superseded)]
    if own is None:
        reasons.append(f"{described(phase, kept)} stays valid for its own parameters and is found again with them")
        options.append(beside_option(evidence, kept))
    return replace(ask(evidence, "downstream", kept, reasons, options, superseded), observed=observed)


def _is_repair(evidence: Evidence) -> bool:
    """Return whether the latest run is computed again because its files are gone: equal bytes make nothing stale."""
    damaged = [one.run for one in evidence.same if one.run.complete and one.faults and not one.quarantine_reason]
    if not damaged:
        return False
    current = evidence.current()
    return current is not None and any(run.output_digest == current.output_digest for run in damaged)


def _run(evidence: Evidence) -> Verdict:
    reasons, observed = _why_not_reused(evidence)
    superseded = () if _is_repair(evidence) else superseded_by_running(evidence)
    given_up = [superseding_sentence(evidence, superseded)] if superseded else []
    beside = [f"`latest` stays as it is ({evidence.beside})"] if evidence.beside else []
    kind: Kind = "beside" if evidence.beside else "nothing"
    every = (*reasons, *given_up, *beside, *evidence.deleted())
    return replace(_computed(evidence, kind, every, superseded), observed=observed)


def _why_not_reused(evidence: Evidence) -> tuple[list[str], Findings | None]:
    """Say why no earlier run counts, with what one of them read that has changed."""
    phase, observed = evidence.phase, None
    reasons: list[str | tuple[str, ...]] = []
    outdated: dict[tuple[str, ...], list[PhaseRun]] = {}
    unfinished: PhaseRun | None = None
    for candidate in evidence.same:
        if candidate.run.unreadable and candidate.quarantine_reason:
            reasons.append(candidate.quarantine_reason)
        elif candidate.quarantine_reason:
            reasons.append(f"{described(phase, candidate.run)} is not reused: {candidate.quarantine_reason}")
        elif candidate.run.complete and candidate.faults:
            reasons.append(f"{described(phase, candidate.run)} lost its outputs: {candidate.faults[0]}")
        elif candidate.run.complete and phase.grade(candidate.run.metrics) == "poor" and phase.quality:
            reasons.append(f"{described(phase, candidate.run)} is poor: the bound is {phase.quality.poor:g}")
        elif (findings := evidence.observed(candidate.run)).changed:
            observed = observed or findings
            if findings.changed not in outdated:
                reasons.append(findings.changed)
            outdated.setdefault(findings.changed, []).append(candidate.run)
        elif not candidate.run.complete and unfinished is None:
            unfinished = candidate.run
            reasons.append(f"{described(phase, candidate.run)} did not finish and left no checkpoint")
    if not reasons:
        reasons.append(evidence.nearest() or f"{phase.name} has not been run yet")
    return [one if isinstance(one, str) else read_and_changed(outdated[one], one) for one in reasons[:3]], observed


RULES: tuple[Callable[[Evidence], Verdict | None], ...] = (
    _missing,
    _good,
    _live,
    _interrupted_or_borderline,
    assumed,
    unreachable,
    edited,
    generations,
    _stale,
    old,
    _would_supersede,
)
