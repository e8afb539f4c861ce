"""The baseline table: what each phase took, cost and reached with each model, side by side."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow_plugin.format import describe_cost, describe_duration, finite
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import Project
from mlflow_plugin.reports.views.phase_runs import run_dict
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

MODEL_PARAMETERS = ("preset", "model", "model_name", "base_model")
"""Parameters that by custom say which model a run is about. Failing these, a phase's declared `size:` does."""
_MOST_COLUMNS = 12

Key = tuple[tuple[str, str], ...]


def baseline(history: History, runs: Mapping[str, Sequence[PhaseRun]]) -> dict[str, Any]:
    """The newest good run of each phase for each model; `runs` are those of each phase, newest first.

    A phase that does not say which model it is about counts for that of the runs it was made from.
    """
    project = history.project
    keys = _keys(project, runs)
    good = {name: [run for run in found if run.run_id in keys and _good(history, run)] for name, found in runs.items()}
    columns = _columns([keys[run.run_id] for found in good.values() for run in found], good, keys)
    chosen = [{name: _newest(found, column, keys) for name, found in good.items()} for column in columns]
    return {
        "columns": [{"label": _label(column), "parameters": dict(column)} for column in columns],
        "rows": [{"phase": name, "cells": [_cell(project, cells[name]) for cells in chosen]} for name in runs],
        "totals": [_total(cells.values()) for cells in chosen],
        "sentence": _sentence(columns, chosen),
    }


def _good(history: History, run: PhaseRun) -> bool:
    phase = history.project.phases[run.phase]
    return (
        run.complete
        and not run.reused_run_id
        and phase.grade(run.metrics) == "good"
        and not history.quarantine_reason(run)
    )


def _keys(project: Project, runs: Mapping[str, Sequence[PhaseRun]]) -> dict[str, Key]:
    """Which model each run is about, as pairs of parameter and value: its own and those of what it was made from."""
    declared = {name for phase in project.phases.values() for name in phase.parameters}
    saying = {name for name in MODEL_PARAMETERS if name in declared}
    saying = saying or {name for phase in project.phases.values() for name in phase.size}
    keys: dict[str, Key] = {}
    for found in runs.values():  # Phases come after those that they need.
        for run in found:
            taken_over = {pair for used in run.inputs.values() for pair in keys.get(used, ())}
            own = {name: unquoted(run.parameters[name]) for name in saying if name in run.parameters}
            keys[run.run_id] = tuple(sorted((dict(taken_over) | own).items()))
    return keys


def _columns(found: Iterable[Key], good: Mapping[str, Sequence[PhaseRun]], keys: Mapping[str, Key]) -> list[Key]:
    """The models there are, that of the newest run first. What says less than another is no model of its own."""
    distinct = set(found)
    whole = [key for key in distinct if not any(set(key) < set(other) for other in distinct)]
    newest: dict[Key, float] = {}
    for run in (run for some in good.values() for run in some):
        key = keys[run.run_id]
        newest[key] = max(newest.get(key, 0.0), run.started_at.timestamp())
    return sorted(whole, key=lambda key: (-newest[key], key))[:_MOST_COLUMNS]


def _newest(runs: Sequence[PhaseRun], column: Key, keys: Mapping[str, Key]) -> PhaseRun | None:
    return next((run for run in runs if set(keys[run.run_id]) <= set(column)), None)


def _label(column: Key) -> str:
    if len(column) == 1 and column[0][0] in MODEL_PARAMETERS:
        return column[0][1]
    return ", ".join(f"{name} {value}" for name, value in column) or "all runs"


def _cell(project: Project, run: PhaseRun | None) -> dict[str, Any] | None:
    if run is None:
        return None
    content = run_dict(project.phases[run.phase], run)
    kept = ("run_id", "short", "started_at", "completed_at", "duration_seconds", "cost_usd", "hardware", "quality")
    return {name: content[name] for name in (*kept, "metrics")}


def _total(cells: Iterable[PhaseRun | None]) -> dict[str, Any]:
    done = [run for run in cells if run]
    return {
        "phases": len(done),
        "duration_seconds": sum(finite(run.duration_seconds) or 0.0 for run in done),
        "cost_usd": sum(finite(run.cost_usd) or 0.0 for run in done),
    }


def _sentence(columns: Sequence[Key], chosen: Sequence[Mapping[str, PhaseRun | None]]) -> str:
    told = []
    for column, cells in zip(columns, chosen, strict=True):
        total = _total(cells.values())
        price = f"{describe_duration(total['duration_seconds'])} and {describe_cost(total['cost_usd'])}"
        missing = [name for name, run in cells.items() if run is None]
        told.append(f"{_label(column)}: {price}" + (f", without {', '.join(missing)}" if missing else ""))
    return "; ".join(told) if told else "no phase has a good run yet"
