"""Questions and their options. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.facts import Candidate, Evidence, described
from mlflow_plugin.decision.quality import quality_of
from mlflow_plugin.decision.superseding import stale_words, superseded_by_running
from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict
from mlflow_plugin.project.vocabulary import Kind
from mlflow_plugin.store.run import PhaseRun

CANCEL = "Cancel, and change nothing"
"""The title of the option that ends everything, rather than to do something else first."""


def ask_to_keep(evidence: Evidence, kind: Kind, run: PhaseRun, reasons: tuple[str, ...]) -> Verdict:
    """Ask if an existing run counts, or the phase is run again."""
    superseded = superseded_by_running(evidence, run)
    current = evidence.current()
    if current is not None and current.run_id != run.run_id and evidence.phase.grade(current.metrics) == "good":
        reasons = (*reasons, f"{described(evidence.phase, current)} is the latest until this is answered with A")
    options = (keep_option(evidence, run, superseded), again_option(evidence, superseded))
    return ask(evidence, kind, run, reasons, options, superseded)


def ask_to_resume(evidence: Evidence, kind: Kind, candidate: Candidate, reasons: tuple[str, ...]) -> Verdict:
    """Ask if a checkpoint that may not fit is used, or the phase starts over."""
    phase, run = evidence.phase, candidate.run
    superseded = superseded_by_running(evidence)
    title = f"Go on from {run.checkpoint} of {described(phase, run)}"
    resume = Option("", "reuse", title, (), superseded, (phase.name,), action="resume", run_id=run.run_id)
    return ask(
        evidence,
        kind,
        run,
        reasons,
        (resume, again_option(evidence, superseded, f"Start {phase.name} over")),
        superseded,
    )


def ask(
    evidence: Evidence,
    kind: Kind,
    kept: PhaseRun | None,
    reasons: Sequence[str],
    options: Sequence[Option],
    superseded: Sequence[SupersededRun] = (),
) -> Verdict:
    """Make a question. The options get their letters here, and a last one that cancels unless one does already."""
    cancels = any(option.decide == "fail" for option in options)
    every = [*options, *([] if cancels else [Option("", "fail", CANCEL)])]
    return Verdict(
        evidence.phase.name,
        "ask",
        tuple(reasons),
        kind=kind,
        run_id=kept.run_id if kept else None,
        quality=quality_of(evidence.phase, kept) if kept else None,
        invalidates=tuple(superseded),
        options=tuple(_lettered(option, number) for number, option in enumerate(every)),
        estimate=evidence.estimate(),
        inputs=evidence.input_ids(),
    )


def _lettered(option: Option, number: int) -> Option:
    return replace(option, letter=chr(ord("A") + number))


def keep_option(evidence: Evidence, kept: PhaseRun, superseded: Sequence[SupersededRun]) -> Option:
    """Return the option that keeps an existing run and computes nothing."""
    keeps = tuple(run.sentence() for run in superseded)
    title = f"Keep {described(evidence.phase, kept)} and continue"
    return Option("", "reuse", title, keeps, action="reuse", run_id=kept.run_id)


def again_option(evidence: Evidence, superseded: Sequence[SupersededRun], title: str = "") -> Option:
    """Return the option that computes the phase anew, and in a pipeline the phases after it."""
    phase = evidence.phase.name
    later = [(name, expected) for name, expected in evidence.downstream_estimate() if name in evidence.following]
    names = [name for name, _ in later]
    words = (title or f"Run {phase} again") + (f", then {', '.join(names)}" if names else "")
    words += stale_words(evidence, [run for run in superseded if run.phase not in (phase, *names)])
    price = _price([evidence.estimate(), *(expected for _, expected in later)])
    return Option("", "rerun", words, (), tuple(superseded), (phase, *names), *price, action="run")


def beside_option(evidence: Evidence, latest: PhaseRun) -> Option:
    """Return the option that computes the phase and leaves `latest` as it is."""
    title = f"Run {evidence.phase.name} beside: {described(evidence.phase, latest)} stays the latest"
    price = price_of(evidence)
    return Option("", "beside", title, (), (), (evidence.phase.name,), *price, action="run")


def inputs_option(evidence: Evidence) -> Option:
    """Return the option that computes the phase on inputs that were asked about."""
    title = f"Use the inputs as they are and run {evidence.phase.name}"
    return Option("", "reuse", title, (), (), (evidence.phase.name,), *price_of(evidence), action="run")


def price_of(evidence: Evidence) -> tuple[float | None, float | None]:
    """Return the seconds and US dollars that the phase is expected to take, None where that is not known."""
    return _price([evidence.estimate()])


def _price(estimates: Sequence[Estimate | None]) -> tuple[float | None, float | None]:
    """Add up the seconds and US dollars of all estimates that are known."""
    known = [one for one in estimates if one is not None]
    if not known:
        return None, None
    costs = [one.cost_usd for one in known if one.cost_usd is not None]
    return sum(one.seconds for one in known), sum(costs) if costs else None
