"""Money and time: the cost of phases, savings by reuse, superseded work, by phase, pipeline and hardware.

The duration of a resumed run holds that of the run it resumes, so the latter is not counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from mlflow_plugin.format import describe_cost, describe_duration, finite
from mlflow_plugin.reports import models
from mlflow_plugin.reports.views.baseline import baseline
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.untrusted import number

WITHIN_SECONDS = 1.2
ALL_WITHIN_SECONDS = 100.0
"""For a request for all runs: each thousand takes a second or two."""
_ESTIMATES = 100


def accounts_view(history: History, within_seconds: float = WITHIN_SECONDS) -> models.Accounts:
    """Return the time and money that the project's runs took, cost and saved.

    Of an experiment with more runs than can be read in `within_seconds`, the newest of each phase count, and
    `truncated` is true.
    """
    history.newest()
    phases = history.project.order(history.project.phases)
    read = {phase.name: history.all_of(phase.name, within_seconds / len(phases)) for phase in phases}
    by_phase = {name: runs for name, (runs, _) in read.items()}
    all_runs = [run for runs in by_phase.values() for run in runs]
    rates = _rates(all_runs)
    rows = {name: _phase_sums(name, runs, rates) for name, runs in by_phase.items()}
    return models.Accounts(
        phases=list(rows.values()),
        pipelines=[
            models.PipelineSums(
                pipeline=pipeline.name,
                **_total([rows[one.name] for one in history.project.order(pipeline.targets)]),
            )
            for pipeline in history.project.pipelines.values()
        ],
        total=models.Sums(**_total(rows.values())),
        hardware=_hardware(all_runs, rates),
        bottleneck=_bottleneck(by_phase),
        baseline=baseline(history, by_phase),
        counted_runs=len(all_runs),
        truncated=not all(whole for _, whole in read.values()),
    )


def _computed(run: PhaseRun) -> bool:
    """Return True when a run computed something that no later run's duration holds."""
    return run.computing and (run.complete or not run.successor)


def _seconds(run: PhaseRun) -> float:
    """Return the time that a run computed; of one that did not complete, until its last heartbeat."""
    if run.complete:
        return finite(run.duration_seconds) or 0.0
    last_heartbeat = number(run.heartbeat.get("at"))
    return max(0.0, last_heartbeat - run.started_at.timestamp()) if last_heartbeat is not None else 0.0


def _rates(runs: Iterable[PhaseRun]) -> dict[str, float]:
    """Return US dollars a second by hardware, from the newest complete run on each."""
    rates: dict[str, float] = {}
    for run in runs:
        cost, seconds = finite(run.cost_usd), finite(run.duration_seconds)
        rate = finite(cost / seconds) if cost is not None and seconds else None
        if run.complete and not run.reused_run_id and rate is not None:
            rates.setdefault(run.hardware_key, rate)
    return rates


def _usd(run: PhaseRun, rates: Mapping[str, float]) -> float:
    """Return the cost of a run. One that did not complete is priced as others on its hardware."""
    cost = finite(run.cost_usd)
    return cost if cost is not None else _seconds(run) * rates.get(run.hardware_key, 0.0)


def _phase_sums(phase: str, runs: Sequence[PhaseRun], rates: Mapping[str, float]) -> models.PhaseSums:
    computed = [run for run in runs if _computed(run)]
    reuses = [run for run in runs if run.reused_run_id]
    superseded = [run for run in computed if run.invalidated_by]
    return models.PhaseSums(
        phase=phase,
        runs=len(computed),
        reuses=len(reuses),
        spent_seconds=sum(_seconds(run) for run in computed),
        spent_usd=sum(_usd(run, rates) for run in computed),
        saved_seconds=sum(finite(run.metrics.get(schema.SAVED_SECONDS)) or 0.0 for run in reuses),
        saved_usd=sum(finite(run.metrics.get(schema.SAVED_USD)) or 0.0 for run in reuses),
        superseded_seconds=sum(_seconds(run) for run in superseded),
        superseded_usd=sum(_usd(run, rates) for run in superseded),
        estimates=_estimates(runs),
    )


def _total(rows: Iterable[models.Sums]) -> dict[str, Any]:
    listed = list(rows)
    return {name: sum(getattr(row, name) for row in listed) for name in models.Sums.model_fields}


def _estimates(runs: Sequence[PhaseRun]) -> list[models.Estimate]:
    """Return the estimate for each complete run beside its actual time and cost, newest first."""
    estimated = [run for run in runs if run.complete and finite(run.metrics.get(schema.ESTIMATED_SECONDS)) is not None]
    return [
        models.Estimate(
            run_id=run.run_id,
            at=run.started_at,
            estimated_seconds=finite(run.metrics.get(schema.ESTIMATED_SECONDS)),
            actual_seconds=finite(run.duration_seconds),
            estimated_usd=finite(run.metrics.get(schema.ESTIMATED_USD)),
            actual_usd=finite(run.cost_usd),
        )
        for run in estimated[:_ESTIMATES]
    ]


def _hardware(runs: Sequence[PhaseRun], rates: Mapping[str, float]) -> list[models.HardwareSums]:
    """Return time and money by hardware, the most expensive first."""
    by_hardware: dict[str, list[PhaseRun]] = {}
    for run in runs:
        if _computed(run):
            by_hardware.setdefault(run.hardware or "unknown", []).append(run)
    rows = [
        models.HardwareSums(
            hardware=hardware,
            runs=len(used),
            seconds=sum(_seconds(run) for run in used),
            usd=sum(_usd(run, rates) for run in used),
        )
        for hardware, used in by_hardware.items()
    ]
    return sorted(rows, key=lambda row: (row.usd, row.seconds), reverse=True)


def _bottleneck(by_phase: Mapping[str, Sequence[PhaseRun]]) -> models.Bottleneck | None:
    """Return the phase with the longest median time of its newest ten complete runs; None when no run was timed."""
    usual = {name: seconds for name, runs in by_phase.items() if (seconds := _usual(runs))}
    if not usual:
        return None
    phase, seconds = max(usual.items(), key=lambda item: item[1])
    total = sum(usual.values())
    costs = [cost for run in by_phase[phase] if run.complete and (cost := finite(run.cost_usd)) is not None]
    price = f" and {describe_cost(costs[0])}" if costs else ""
    return models.Bottleneck(
        phase=phase,
        seconds=seconds,
        share=seconds / total,
        sentence=f"{phase} is the bottleneck: it usually takes {describe_duration(seconds)}{price}, "
        f"{seconds / total:.0%} of the {describe_duration(total)} that all phases take together",
    )


def _usual(runs: Sequence[PhaseRun]) -> float | None:
    done = [_seconds(run) for run in runs if run.complete and _computed(run)][:10]
    return median(done) if done else None
