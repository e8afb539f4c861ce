"""Money and time as plain data: what phases took and cost, what reuse saved, what was thrown away, on which hardware.

Seconds and US dollars. A resumed run's duration holds that of the run it goes on from, so the latter is not counted.
"""

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from mlflow_plugin.decision.question import number
from mlflow_plugin.format import describe_cost, describe_duration, finite
from mlflow_plugin.reports.views.baseline import baseline
from mlflow_plugin.reports.views.phase_runs import iso
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

WITHIN_SECONDS = 1.2
ALL_WITHIN_SECONDS = 100.0
"""For somebody who asks for all runs and waits: it takes a second or two for each thousand."""
_ESTIMATES = 100
_SPENT = ("runs", "reuses", "spent_seconds", "spent_usd")
_NOT_SPENT = ("saved_seconds", "saved_usd", "thrown_away_seconds", "thrown_away_usd")


def accounts_view(history: History, within_seconds: float = WITHIN_SECONDS) -> dict[str, Any]:
    """What the project's runs took, cost and saved. In an experiment of more runs than can be read in this time the
    newest of each phase count, and `truncated` says so.
    """
    history.newest()
    phases = history.project.order(history.project.phases)
    read = {phase.name: history.all_of(phase.name, within_seconds / len(phases)) for phase in phases}
    runs = {name: found for name, (found, _) in read.items()}
    rates = _rates([run for found in runs.values() for run in found])
    rows = [{"phase": name, **_sums(found, rates), "estimates": _estimates(found)} for name, found in runs.items()]
    by_phase = {row["phase"]: row for row in rows}
    return {
        "phases": rows,
        "pipelines": [
            {
                "pipeline": pipeline.name,
                **_total([by_phase[one.name] for one in history.project.order(pipeline.targets)]),
            }
            for pipeline in history.project.pipelines.values()
        ],
        "total": _total(rows),
        "hardware": _hardware([run for found in runs.values() for run in found], rates),
        "bottleneck": _bottleneck(runs),
        "baseline": baseline(history, runs),
        "counted_runs": sum(len(found) for found in runs.values()),
        "truncated": not all(whole for _, whole in read.values()),
    }


def _computed(run: PhaseRun) -> bool:
    """Whether a run computed something of its own that no later run's duration holds."""
    return run.computing and (run.complete or not run.successor)


def _seconds(run: PhaseRun) -> float:
    """How long a run computed; of one that did not complete, until it was last heard."""
    if run.complete:
        return finite(run.duration_seconds) or 0.0
    heard = number(run.heartbeat.get("at"))
    return max(0.0, heard - run.started_at.timestamp()) if heard is not None else 0.0


def _rates(runs: Iterable[PhaseRun]) -> dict[str, float]:
    """US dollars a second by hardware, from the newest complete run on it."""
    rates: dict[str, float] = {}
    for run in runs:
        cost, seconds = finite(run.cost_usd), finite(run.duration_seconds)
        if run.complete and not run.reused_run_id and cost is not None and seconds:
            rates.setdefault(run.hardware_key, cost / seconds)
    return rates


def _usd(run: PhaseRun, rates: dict[str, float]) -> float:
    """What a run cost; one that did not complete recorded no cost, so it is priced as others on its hardware."""
    cost = finite(run.cost_usd)
    return cost if cost is not None else _seconds(run) * rates.get(run.hardware_key, 0.0)


def _sums(runs: Sequence[PhaseRun], rates: dict[str, float]) -> dict[str, Any]:
    computed = [run for run in runs if _computed(run)]
    reuses = [run for run in runs if run.reused_run_id]
    gone = [run for run in computed if run.invalidated_by]
    return {
        "runs": len(computed),
        "reuses": len(reuses),
        "spent_seconds": sum(_seconds(run) for run in computed),
        "spent_usd": sum(_usd(run, rates) for run in computed),
        "saved_seconds": sum(finite(run.metrics.get(schema.SAVED_SECONDS)) or 0.0 for run in reuses),
        "saved_usd": sum(finite(run.metrics.get(schema.SAVED_USD)) or 0.0 for run in reuses),
        "thrown_away_seconds": sum(_seconds(run) for run in gone),
        "thrown_away_usd": sum(_usd(run, rates) for run in gone),
    }


def _total(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(row[name] for row in rows) for name in (*_SPENT, *_NOT_SPENT)}


def _estimates(runs: Sequence[PhaseRun]) -> list[dict[str, Any]]:
    """What was expected of each complete run before it started, and what it came to, newest first."""
    told = [run for run in runs if run.complete and finite(run.metrics.get(schema.ESTIMATED_SECONDS)) is not None]
    return [
        {
            "run_id": run.run_id,
            "at": iso(run.started_at),
            "estimated_seconds": finite(run.metrics.get(schema.ESTIMATED_SECONDS)),
            "actual_seconds": finite(run.duration_seconds),
            "estimated_usd": finite(run.metrics.get(schema.ESTIMATED_USD)),
            "actual_usd": finite(run.cost_usd),
        }
        for run in told[:_ESTIMATES]
    ]


def _hardware(runs: Sequence[PhaseRun], rates: dict[str, float]) -> list[dict[str, Any]]:
    """Time and money by hardware, the dearest first."""
    found: dict[str, list[PhaseRun]] = {}
    for run in runs:
        if _computed(run):
            found.setdefault(run.hardware or "unknown", []).append(run)
    rows = [
        {
            "hardware": hardware,
            "runs": len(used),
            "seconds": sum(_seconds(run) for run in used),
            "usd": sum(_usd(run, rates) for run in used),
        }
        for hardware, used in found.items()
    ]
    return sorted(rows, key=lambda row: (row["usd"], row["seconds"]), reverse=True)


def _bottleneck(runs: dict[str, list[PhaseRun]]) -> dict[str, Any] | None:
    """The phase that takes longest, by the median of its newest ten complete runs; None when nothing was timed."""
    usual = {name: _usual(found) for name, found in runs.items()}
    known = {name: seconds for name, seconds in usual.items() if seconds}
    if not known:
        return None
    phase, seconds = max(known.items(), key=lambda item: item[1])
    total = sum(known.values())
    costs = [cost for run in runs[phase] if run.complete and (cost := finite(run.cost_usd)) is not None]
    price = f" and {describe_cost(costs[0])}" if costs else ""
    return {
        "phase": phase,
        "seconds": seconds,
        "share": seconds / total,
        "sentence": f"{phase} is the bottleneck: it usually takes {describe_duration(seconds)}{price}, "
        f"{seconds / total:.0%} of the {describe_duration(total)} that all phases take together",
    }


def _usual(runs: Sequence[PhaseRun]) -> float | None:
    done = [_seconds(run) for run in runs if run.complete and _computed(run)][:10]
    return median(done) if done else None
