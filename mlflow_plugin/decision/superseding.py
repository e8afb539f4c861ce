"""What a new run would supersede, what computing that again takes, and whether it is worth a question. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.decision.facts import Evidence, superseded_run
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.format import approximately, describe_cost, describe_duration, short
from mlflow_plugin.project.project import AskAbove
from mlflow_plugin.store.run import PhaseRun

_LISTED = 3


@dataclass(frozen=True)
class Amount:
    """Seconds and US dollars; None when a part of the sum is not known."""

    seconds: float | None
    usd: float | None

    def exceeds(self, limit: AskAbove) -> bool:
        """Return whether either is above its limit, or not known. A limit of 0 is always exceeded."""
        return _exceeds(self.seconds, limit.minutes * 60) or _exceeds(self.usd, limit.usd)

    def words(self) -> str:
        """Say it in words."""
        time = "an unknown time" if self.seconds is None else describe_duration(self.seconds)
        return time if self.usd is None else f"{time} and {describe_cost(self.usd)}"


def _exceeds(amount: float | None, limit: float) -> bool:
    if math.isinf(limit):
        return False
    return limit <= 0 or amount is None or amount > limit


def recomputing(runs: Iterable[SupersededRun], estimates: Mapping[str, Estimate | None]) -> Amount:
    """Add up the time and money that the runs took; a run that did not record them counts with its phase's estimate."""
    seconds, usd = [], []
    for run in runs:
        expected = estimates.get(run.phase)
        seconds.append(_known(run.duration_seconds, expected.seconds if expected else None))
        usd.append(_known(run.cost_usd, expected.cost_usd if expected else None))
    return Amount(_sum(seconds), _sum(usd))


def _known(recorded: float | None, expected: float | None) -> float | None:
    values = (value for value in (recorded, expected) if value is not None and math.isfinite(value))
    return next(values, None)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def superseded_by_running(evidence: Evidence, *own: PhaseRun | None) -> tuple[SupersededRun, ...]:
    """Return the runs that a new run supersedes or makes stale, each once.

    Args:
        evidence: The evidence.
        own: Runs of this phase that a question is about, besides the one that a new run replaces.
    """
    if evidence.beside:
        return ()
    runs = [superseded_run(evidence.phase, run) for run in (*own, evidence.replaced()) if run is not None]
    return tuple({run.run_id: run for run in (*runs, *evidence.downstream())}.values())


def is_costly(evidence: Evidence, superseded: Sequence[SupersededRun]) -> bool:
    """Return whether superseding these runs must be asked about: recomputing them is above `ask_above`, or unknown."""
    return bool(superseded) and _recomputing(evidence, superseded).exceeds(evidence.ask_above)


def _recomputing(evidence: Evidence, runs: Iterable[SupersededRun]) -> Amount:
    listed = list(runs)
    if all(run.duration_seconds is not None and run.cost_usd is not None for run in listed):
        return recomputing(listed, {})
    own = evidence.phase.name
    return recomputing(listed, {own: evidence.estimate(), **dict(evidence.downstream_estimate())})


def superseding_sentence(evidence: Evidence, superseded: Sequence[SupersededRun]) -> str:
    """Say in one line what a new run supersedes, what becomes stale, and the price of computing it again."""
    own = [run for run in superseded if run.phase == evidence.phase.name]
    later = [run for run in superseded if run.phase != evidence.phase.name]
    parts = [f"supersedes {_names(own)}"] if own else []
    parts += [f"makes {_names(later)} stale"] if later else []
    price = _recomputing(evidence, superseded).words()
    them = "them" if len(superseded) > 1 else "it"
    return f"this {' and '.join(parts)}; computing {them} again takes {price}"


def _names(runs: Sequence[SupersededRun]) -> str:
    listed = [f"{run.phase} {short(run.run_id)}" for run in runs[:_LISTED]]
    listed += [f"{len(runs) - _LISTED} more"] if len(runs) > _LISTED else []
    return " and ".join([", ".join(listed[:-1]), listed[-1]]) if len(listed) > 1 else listed[0]


def stale_words(evidence: Evidence, runs: Sequence[SupersededRun]) -> str:
    """Name the phases whose runs become stale and are not computed by this call, with the price of doing so."""
    if not runs:
        return ""
    in_order = [name for name, _ in evidence.downstream_estimate()]
    names = sorted({run.phase for run in runs}, key=lambda name: in_order.index(name) if name in in_order else -1)
    named = " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
    become, them = ("become", "them") if len(names) > 1 else ("becomes", "it")
    amount = _recomputing(evidence, runs)
    if amount.seconds is None:
        return f"; {named} {become} stale (recomputing {them} would take an unknown time)"
    usd = "" if amount.usd is None else f" and {describe_cost(amount.usd)}"
    return f"; {named} {become} stale (recomputing {them} would take {approximately(amount.seconds)}{usd})"
