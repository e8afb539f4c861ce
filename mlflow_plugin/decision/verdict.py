"""What a decision says: a Verdict with its reasons, and for a question the options with what each throws away."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.format import approximately, clock, describe_cost, describe_duration, finite, short


@dataclass(frozen=True)
class SupersededRun:
    """A finished run that an option throws away. Seconds, US dollars, UTC."""

    phase: str
    run_id: str
    quality: float | None
    metric: str
    finished_at: datetime | None
    duration_seconds: float | None
    cost_usd: float | None

    def sentence(self) -> str:
        parts = [f"{self.phase} {short(self.run_id)}"]
        if self.quality is not None:
            parts.append(f"{self.metric} {self.quality:.4g}")
        if self.finished_at is not None:
            parts.append(f"finished {clock(self.finished_at)}")
        if self.duration_seconds is not None:
            parts.append(f"took {describe_duration(self.duration_seconds)}")
        if self.cost_usd is not None:
            parts.append(f"cost {describe_cost(self.cost_usd)}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Option:
    """One lettered answer to a question. `reruns` are the phases that it computes; None: not known yet."""

    letter: str
    decide: str
    title: str
    keeps: tuple[str, ...] = ()
    throws_away: tuple[SupersededRun, ...] = ()
    reruns: tuple[str, ...] = ()
    seconds: float | None = None
    cost_usd: float | None = None

    def price(self) -> str:
        """What it costs to do, in words."""
        if not self.reruns:
            return "nothing is computed"
        if self.seconds is None:
            return f"computes {', '.join(self.reruns)}; no earlier run tells how long"
        cost = "" if self.cost_usd is None else f" and {describe_cost(self.cost_usd)}"
        return f"computes {', '.join(self.reruns)}: {approximately(self.seconds)}{cost}"


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a phase, and why.

    `action` is reuse, resume, run, wait or ask; `run_id` the run it is about (reuse: the run whose outputs count),
    or None. `kind` names the rule that spoke. `inputs` maps each need to the run that feeds it.
    """

    phase: str
    action: str
    reasons: tuple[str, ...]
    kind: str = ""
    run_id: str | None = None
    quality: float | None = None
    invalidates: tuple[SupersededRun, ...] = ()
    options: tuple[Option, ...] = ()
    estimate: Estimate | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    def option(self, answer: str) -> Option | None:
        """The option of a letter or of a `decide` value."""
        return next((option for option in self.options if answer in (option.letter, option.decide)), None)


@dataclass(frozen=True)
class Plan:
    """What an entry point would do now, one verdict a phase, in order. Seconds and US dollars; None when nothing is
    known.
    """

    entry_point: str
    verdicts: tuple[Verdict, ...]
    command: str = ""

    @property
    def seconds(self) -> float | None:
        """Expected time of all that would be computed."""
        return _total([verdict.estimate.seconds for verdict in self._computed if verdict.estimate])

    @property
    def cost_usd(self) -> float | None:
        """Expected cost of all that would be computed."""
        costs = [verdict.estimate.cost_usd for verdict in self._computed if verdict.estimate]
        return _total([cost for cost in costs if cost is not None])

    @property
    def _computed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.action in ("run", "resume")]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "entry_point": self.entry_point,
            "phases": [verdict_dict(verdict) for verdict in self.verdicts],
            "seconds": self.seconds,
            "cost_usd": self.cost_usd,
        }


def _total(values: list[float]) -> float | None:
    return sum(values) if values else None


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain values; times are ISO 8601, UTC."""
    return asdict(verdict) | {
        "quality": finite(verdict.quality),
        "invalidates": [superseded_dict(one) for one in verdict.invalidates],
        "options": [
            asdict(option) | {"throws_away": [superseded_dict(one) for one in option.throws_away]}
            for option in verdict.options
        ],
        "estimate": verdict.estimate._asdict() if verdict.estimate else None,
    }


def superseded_dict(one: SupersededRun) -> dict[str, Any]:
    """A one as plain values; the time is ISO 8601, UTC."""
    finished_at = one.finished_at.isoformat() if one.finished_at else None
    return asdict(one) | {"quality": finite(one.quality), "finished_at": finished_at}
