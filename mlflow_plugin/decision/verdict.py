"""A verdict with its reasons, and for a question the options with the runs that each supersedes."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from mlflow_plugin.decision.estimate import Estimate
from mlflow_plugin.format import approximately, clock, describe_cost, describe_duration, finite, short
from mlflow_plugin.observation.findings import Findings
from mlflow_plugin.project.vocabulary import Action, Kind


@dataclass(frozen=True)
class SupersededRun:
    """A finished run that an option supersedes. It stays in the store, and is reused if one goes back. Seconds, US
    dollars, UTC.
    """

    phase: str
    run_id: str
    quality: float | None
    metric: str
    finished_at: datetime | None
    duration_seconds: float | None
    cost_usd: float | None

    def sentence(self) -> str:
        """Describe the run in one line: quality, time, duration and cost as far as they are known."""
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
    """One lettered answer to a question.

    Attributes:
        letter: The letter that people type.
        decide: The value of `decide` that chooses it.
        title: The option in words.
        keeps: Runs that stay valid, one sentence each.
        supersedes: Runs that it supersedes or makes stale.
        reruns: The phases that it computes.
        seconds: How long that takes; None when it is not known.
        cost_usd: US dollars; None when it is not known.
        action: How it is executed; empty for one that stops, and for one that was read from the store.
        run_id: The run that it reuses or resumes from.
        renews: The upstream phases to run first, for an option that stops for that.
    """

    letter: str
    decide: str
    title: str
    keeps: tuple[str, ...] = ()
    supersedes: tuple[SupersededRun, ...] = ()
    reruns: tuple[str, ...] = ()
    seconds: float | None = None
    cost_usd: float | None = None
    action: Literal["reuse", "resume", "run", ""] = ""
    run_id: str = ""
    renews: tuple[str, ...] = ()

    @property
    def throws_away(self) -> tuple[SupersededRun, ...]:
        """The earlier name of `supersedes`."""
        warnings.warn("Option.throws_away is now Option.supersedes", DeprecationWarning, stacklevel=2)
        return self.supersedes

    def price(self) -> str:
        """Say in words how long the option takes and what it costs."""
        if not self.reruns:
            return "nothing is computed"
        if self.seconds is None:
            return f"computes {', '.join(self.reruns)}; no earlier run tells how long"
        cost = "" if self.cost_usd is None else f" and {describe_cost(self.cost_usd)}"
        return f"computes {', '.join(self.reruns)}: {approximately(self.seconds)}{cost}"


@dataclass(frozen=True)
class Verdict:
    """A decision on a phase, and the reasons for it.

    Attributes:
        phase: The name of the phase.
        action: reuse, resume, run, wait or ask.
        reasons: Sentences for people.
        kind: The rule that decided.
        run_id: The run that the verdict is about (reuse: the run whose outputs count), or None.
        quality: That run's quality.
        invalidates: Good runs that are superseded or become stale.
        options: The options of a question.
        estimate: The expected duration and cost of computing the phase.
        inputs: The upstream run by need.
        beside: Why the run leaves `latest` as it is; empty when it does not.
        observed: The result of comparing what that run read; None when no run was compared.
        members: For a phase with a matrix, the verdict on each of its runs by values, such as `seed=0`.
    """

    phase: str
    action: Action
    reasons: tuple[str, ...]
    kind: Kind | Literal[""] = ""
    run_id: str | None = None
    quality: float | None = None
    invalidates: tuple[SupersededRun, ...] = ()
    options: tuple[Option, ...] = ()
    estimate: Estimate | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    beside: str = ""
    observed: Findings | None = None
    members: "Mapping[str, Verdict]" = field(default_factory=dict)

    def option(self, answer: str) -> Option | None:
        """Return the option of a letter or of a value of `decide`."""
        return next((option for option in self.options if answer in (option.letter, option.decide)), None)


@dataclass(frozen=True)
class Plan:
    """The plan of an entry point: one verdict for each phase, in order. Seconds and US dollars; None when not
    known.
    """

    entry_point: str
    verdicts: tuple[Verdict, ...]
    command: str = ""

    @property
    def seconds(self) -> float | None:
        """The expected duration of everything that would be computed."""
        return _total([verdict.estimate.seconds for verdict in self._computed if verdict.estimate])

    @property
    def cost_usd(self) -> float | None:
        """The expected cost of everything that would be computed."""
        costs = [verdict.estimate.cost_usd for verdict in self._computed if verdict.estimate]
        return _total([cost for cost in costs if cost is not None])

    @property
    def _computed(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if verdict.action in ("run", "resume")]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "entry_point": self.entry_point,
            "phases": [verdict_dict(verdict) for verdict in self.verdicts],
            "seconds": self.seconds,
            "cost_usd": self.cost_usd,
        }


def _total(values: list[float]) -> float | None:
    return sum(values) if values else None


def verdict_dict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values; times are ISO 8601, UTC."""
    plain = asdict(replace(verdict, members={}))
    del plain["members"]
    members = {name: verdict_dict(one) for name, one in verdict.members.items()}
    return plain | {
        "quality": finite(verdict.quality),
        "invalidates": [superseded_dict(one) for one in verdict.invalidates],
        "options": [
            asdict(option) | {"supersedes": [superseded_dict(one) for one in option.supersedes]}
            for option in verdict.options
        ],
        "estimate": verdict.estimate._asdict() if verdict.estimate else None,
        **({"members": members} if members else {}),
    }


def superseded_dict(one: SupersededRun) -> dict[str, Any]:
    """Return a superseded run as plain values; the time is ISO 8601, UTC."""
    finished_at = one.finished_at.isoformat() if one.finished_at else None
    return asdict(one) | {"quality": finite(one.quality), "finished_at": finished_at}
