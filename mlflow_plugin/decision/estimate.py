"""Estimate how long the next run takes from earlier ones. Pure: no clock, no store, no hardware is asked."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

MOST_RUNS = 10


class PastRun(NamedTuple):
    """An earlier complete run: its duration in seconds, `Hardware.key`, declared sizes, and cost in USD if it was
    recorded.
    """

    duration_seconds: float
    hardware_key: str
    size: Mapping[str, float]
    cost_usd: float | None = None


class Estimate(NamedTuple):
    """An expected duration in seconds: the median, and the lowest and highest of the `runs` earlier runs it rests on.

    `like_hardware` is False when those ran on other hardware, so that the figure is a rough guide only. `cost_usd` is
    the median of what they cost, scaled alike; None when no cost was recorded.
    """

    seconds: float
    low: float
    high: float
    runs: int
    like_hardware: bool
    cost_usd: float | None = None


def estimate(past: Sequence[PastRun], hardware_key: str, size: Mapping[str, float]) -> Estimate | None:
    """Return the estimate for a run of this size on this hardware; None when nothing is known.

    Runs on like hardware are used alone when there are any. Each duration is scaled by the product of new/old over the
    sizes that both runs declare and that are above 0.

    Args:
        past: Earlier runs, newest first; at most the ten newest count.
        hardware_key: `Hardware.key` of the machine that is going to compute.
        size: The declared sizes of the new run by parameter name.

    >>> estimate([PastRun(60.0, "1 x L4", {"epochs": 10})], "1 x L4", {"epochs": 100}).seconds
    600.0
    """
    usable = [run for run in past if math.isfinite(run.duration_seconds) and run.duration_seconds >= 0]
    alike = [run for run in usable if run.hardware_key == hardware_key]
    chosen = (alike or usable)[:MOST_RUNS]
    if not chosen:
        return None
    durations = _finite(run.duration_seconds * _scale(run.size, size) for run in chosen)
    costs = _finite(run.cost_usd * _scale(run.size, size) for run in chosen if run.cost_usd is not None)
    if not durations:
        return None
    return Estimate(
        seconds=_median(durations),
        low=durations[0],
        high=durations[-1],
        runs=len(chosen),
        like_hardware=bool(alike),
        cost_usd=_median(costs) if costs else None,
    )


def _finite(amounts: Iterable[float]) -> list[float]:
    """Return the amounts in order. A size such as 1e-300 makes an endless time of a short one."""
    return sorted(amount for amount in amounts if math.isfinite(amount))


def _scale(old: Mapping[str, float], new: Mapping[str, float]) -> float:
    ratios = (new[name] / old[name] for name in new if _counts(new[name]) and _counts(old.get(name, 0)))
    return math.prod(ratios, start=1.0)


def _counts(size: float) -> bool:
    return size > 0 and math.isfinite(size)


def _median(ordered: Sequence[float]) -> float:
    # The statistics module would cost more to import than all the rest of this package.
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
