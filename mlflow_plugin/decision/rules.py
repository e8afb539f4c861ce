"""The rules that turn evidence into a verdict. Pure: no MLflow, no clock, no files.

The rules are the functions in `RULES`; the first that returns a verdict decides. `docs/verdicts.md` has them as a
table.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.quality import borderline_reasons, quality_of
from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict
from mlflow_plugin.format import clock, describe_duration, short
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.project import Phase
from mlflow_plugin.project.vocabulary import Kind
from mlflow_plugin.store.run import PhaseRun


@dataclass(frozen=True)
class Candidate:
    """A run of the phase with the same recipe, and the reasons against its reuse."""

    run: PhaseRun
    live: bool = False
    resumable: bool = False
    quarantine_reason: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Everything that a verdict rests on. The callables are asked only when the rules before them have not decided."""

    phase: Phase
    same: Sequence[Candidate] = ()
    missing_inputs: Sequence[str] = ()
    inputs: Mapping[str, PhaseRun] = field(default_factory=dict)
    input_ages: Mapping[str, float] = field(default_factory=dict)
    stale: Callable[[], Sequence[Candidate]] = tuple
    current: Callable[[], PhaseRun | None] = lambda: None
    downstream: Callable[[], Sequence[SupersededRun]] = tuple
    estimate: Callable[[], Estimate | None] = lambda: None
    downstream_estimate: Callable[[], Sequence[tuple[str, Estimate | None]]] = tuple
    nearest: Callable[[], str] = str
    input_runs: Callable[[str], PhaseRun | None] = lambda run_id: None
    observed: Callable[[PhaseRun], Findings] = lambda run: Findings()


def decide(evidence: Evidence) -> Verdict:
    """Return the verdict of the first rule that applies."""
    for rule in RULES:
        if verdict := rule(evidence):
            return verdict
    return _run(evidence)


def force(evidence: Evidence) -> Verdict:
    """Return the verdict for `decide=rerun`: run, naming the runs that are superseded."""
    superseded = tuple(_superseded_of_same(evidence)) + tuple(evidence.downstream())
    listed = [f"supersedes {one.sentence()}" for one in superseded]
    unless = ["or none of them, if it gives the same bytes as before"] if listed else []
    return Verdict(
        evidence.phase.name,
        "run",
        ("re-run because decide=rerun was given", *listed, *unless),
        kind="forced",
        invalidates=superseded,
        estimate=evidence.estimate(),
        inputs=_input_ids(evidence),
    )


def _usable(candidates: Sequence[Candidate]) -> list[Candidate]:
    return [one for one in candidates if one.run.complete and not one.quarantine_reason and not one.faults]


def superseded_run(phase: Phase, run: PhaseRun) -> SupersededRun:
    """Describe a run of a phase as one that is superseded."""
    metric = phase.quality.metric if phase.quality else ""
    return SupersededRun(
        run.phase, run.run_id, quality_of(phase, run), metric, run.completed_at, run.duration_seconds, run.cost_usd
    )


def _superseded_of_same(evidence: Evidence) -> list[SupersededRun]:
    graded = [one for one in _usable(evidence.same) if evidence.phase.grade(one.run.metrics) not in ("poor", "unknown")]
    return [superseded_run(evidence.phase, graded[0].run)] if graded else []


def _input_ids(evidence: Evidence) -> dict[str, str]:
    return {need: run.run_id for need, run in evidence.inputs.items()}


def _described(phase: Phase, run: PhaseRun) -> str:
    quality = quality_of(phase, run)
    suffix = f" with {phase.quality.metric} {quality:.4g}" if phase.quality and quality is not None else ""
    return f"{phase.name} {run.short} of {clock(run.when)}{suffix}"


_KIND_OF_GRADE: Mapping[str, Kind] = {"borderline": "borderline", "gate": "gate", "unknown": "unknown"}

# --- the rules, first match wins ------------------------------------------------------------------------------------


def _missing(evidence: Evidence) -> Verdict | None:
    if not evidence.missing_inputs:
        return None
    needs = ", ".join(evidence.missing_inputs)
    return Verdict(
        evidence.phase.name,
        "run",
        (f"{needs} must run first: it has no run that is complete, good enough and not quarantined",),
        kind="missing",
        estimate=evidence.estimate(),
        inputs=_input_ids(evidence),
    )


def _good(evidence: Evidence) -> Verdict | None:
    """Reuse the newest good run of which nothing that it read has changed; ask if that cannot be told of any."""
    phase = evidence.phase
    unclear: tuple[PhaseRun, Findings] | None = None
    for candidate in _usable(evidence.same):
        run = candidate.run
        if phase.grade(run.metrics) != "good":
            continue
        findings = evidence.observed(run)
        if findings.changed:
            continue
        if findings.unclear:
            unclear = unclear or (run, findings)
            continue
        if old := _old_inputs(evidence):
            return _ask(evidence, "old", run, (*old, f"{_described(phase, run)} was made with them"))
        bound = f" >= {phase.quality.good:g}" if phase.quality and phase.quality.higher_is_better else ""
        reason = f"{_described(phase, run)}{bound}: {_sameness(findings)}"
        return Verdict(
            phase.name,
            "reuse",
            (reason, *_input_reasons(evidence, run), *findings.mentions),
            kind="same",
            run_id=run.run_id,
            quality=quality_of(phase, run),
            inputs=dict(run.inputs),
            observed=findings,
        )
    if unclear is None:
        return None
    run, findings = unclear
    reason = f"{_described(phase, run)} has the same parameters and code, but not everything can be compared"
    question = _ask(evidence, "unseen", run, (reason, *findings.unclear, *findings.mentions))
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
            reason = f"{_described(evidence.phase, run)} computes the same thing now; waiting for it, to reuse it"
            return Verdict(
                evidence.phase.name, "wait", (reason,), kind="live", run_id=run.run_id, inputs=_input_ids(evidence)
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
            reason = f"{_described(phase, run)} was interrupted; resuming from {run.checkpoint}"
            return Verdict(
                phase.name,
                "resume",
                (reason,),
                kind="interrupted",
                run_id=run.run_id,
                estimate=evidence.estimate(),
                inputs=_input_ids(evidence),
            )
        if run.complete and (why := borderline_reasons(phase, run)):
            return _ask(
                evidence,
                _KIND_OF_GRADE[phase.grade(run.metrics)],
                run,
                (f"{_described(phase, run)} exists, with the same inputs", *why),
            )
    return None


def _stale(evidence: Evidence) -> Verdict | None:
    phase = evidence.phase
    for candidate in _usable(evidence.stale()):
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
                f"{_described(phase, run)} was made from {need} {short(used)}{made}; "
                f"the {newest} {need} is {latest.short} of {clock(latest.when)} and its output differs"
            )
        if reasons:
            return _ask(evidence, "stale", run, (*reasons, *borderline_reasons(phase, run)))
    return None


def _old_inputs(evidence: Evidence) -> list[str]:
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


def _old(evidence: Evidence) -> Verdict | None:
    old = _old_inputs(evidence)
    return _ask(evidence, "old", None, tuple(old)) if old else None


def _would_invalidate(evidence: Evidence) -> Verdict | None:
    superseded = evidence.downstream()
    current = evidence.current()
    if not superseded or current is None:
        return None
    damaged = [one.run for one in evidence.same if one.run.complete and one.faults and not one.quarantine_reason]
    if any(run.output_digest == current.output_digest for run in damaged):
        return None  # A repair: the run that all of them were made from is computed again, since its files are gone.
    count = f"{len(superseded)} good downstream run{'s' if len(superseded) > 1 else ''}"
    they_were = "they were" if len(superseded) > 1 else "it was"
    stale = f"running {evidence.phase.name} would make {count} stale: {they_were} made from {current.short}"
    reasons = (stale, evidence.nearest())
    return _ask(evidence, "downstream", current, tuple(reason for reason in reasons if reason))


def _run(evidence: Evidence) -> Verdict:
    phase, reasons, observed = evidence.phase, [], None
    for candidate in evidence.same:
        if candidate.quarantine_reason:
            reasons.append(f"{_described(phase, candidate.run)} is not reused: {candidate.quarantine_reason}")
        elif candidate.run.complete and candidate.faults:
            reasons.append(f"{_described(phase, candidate.run)} lost its outputs: {candidate.faults[0]}")
        elif candidate.run.complete and phase.grade(candidate.run.metrics) == "poor" and phase.quality:
            reasons.append(f"{_described(phase, candidate.run)} is poor: the bound is {phase.quality.poor:g}")
        elif (findings := evidence.observed(candidate.run)).changed:
            observed = observed or findings
            reasons.append(_read_and_changed(candidate.run, findings.changed))
        elif not candidate.run.complete:
            reasons.append(f"{_described(phase, candidate.run)} did not finish and left no checkpoint")
    if not reasons:
        reasons.append(evidence.nearest() or f"{phase.name} has not been run yet")
    return Verdict(
        phase.name,
        "run",
        tuple(reasons[:3]),
        kind="nothing",
        estimate=evidence.estimate(),
        inputs=_input_ids(evidence),
        observed=observed,
    )


def _read_and_changed(run: PhaseRun, changed: Sequence[str]) -> str:
    """Name what a run read that is not as it was then."""
    more = f", and {len(changed) - 3} more" if len(changed) > 3 else ""
    return f"{run.phase} {run.short} read {'; '.join(changed[:3])}{more}"


RULES: tuple[Callable[[Evidence], Verdict | None], ...] = (
    _missing,
    _good,
    _live,
    _interrupted_or_borderline,
    _stale,
    _old,
    _would_invalidate,
)


def _ask(evidence: Evidence, kind: Kind, kept: PhaseRun | None, reasons: tuple[str, ...]) -> Verdict:
    """Make a question: its first option keeps the existing run, its second computes anew."""
    phase = evidence.phase
    downstream = tuple(evidence.downstream())
    # A run with other parameters stays valid; only the runs that were built on it become stale.
    own = (superseded_run(phase, kept),) if kept is not None and kind != "downstream" else ()
    superseded = (*own, *(one for one in downstream if one.run_id not in {run.run_id for run in own}))
    estimate, later = evidence.estimate(), list(evidence.downstream_estimate())
    reruns = (phase.name, *(name for name, _ in later))
    price = _price([estimate, *(one for _, one in later)])
    if kept is not None:
        kept_runs = tuple(one.sentence() for one in superseded)
        keep = Option("A", "reuse", f"Keep {_described(phase, kept)} and continue", kept_runs)
    else:
        alone = _price([estimate])
        title = f"Use the inputs as they are and run {phase.name}"
        keep = Option("A", "reuse", title, reruns=(phase.name,), seconds=alone[0], cost_usd=alone[1])
    if kind == "old":
        title, decide = f"Stop, and update {' and '.join(_too_old(evidence))} first", "fail"
    else:
        title, decide = f"Run {phase.name} again" + (f", then {', '.join(reruns[1:])}" if later else ""), "rerun"
    again = Option("B", decide, title, (), superseded, reruns, *price)
    return Verdict(
        phase.name,
        "ask",
        reasons,
        kind=kind,
        run_id=kept.run_id if kept else None,
        quality=quality_of(phase, kept) if kept else None,
        invalidates=superseded,
        options=(keep, again),
        estimate=estimate,
        inputs=_input_ids(evidence),
    )


def _price(estimates: Sequence[Estimate | None]) -> tuple[float | None, float | None]:
    """Add up the seconds and US dollars of all estimates that are known."""
    known = [one for one in estimates if one is not None]
    if not known:
        return None, None
    costs = [one.cost_usd for one in known if one.cost_usd is not None]
    return sum(one.seconds for one in known), sum(costs) if costs else None
