"""The baseline table: time, cost and quality of each phase with each model, side by side."""

from collections.abc import Iterable, Mapping, Sequence

from mlflow_plugin.format import describe_cost, describe_duration, finite
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import Project
from mlflow_plugin.reports import models
from mlflow_plugin.reports.views.phase_runs import run_model
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

MODEL_PARAMETERS = ("preset", "model", "model_name", "base_model")
"""Parameters that by custom name the model of a run. Without one of them, a phase's declared `size:` does."""
_MOST_COLUMNS = 12

Key = tuple[tuple[str, str], ...]


def baseline(history: History, by_phase: Mapping[str, Sequence[PhaseRun]]) -> models.Baseline:
    """Return the newest good run of each phase for each model.

    A phase that does not name a model counts for the model of the runs it was made from.

    Args:
        history: The experiment.
        by_phase: The runs of each phase, newest first; phases after those that they need.
    """
    project = history.project
    keys = _keys(project, by_phase)
    good = {
        name: [run for run in runs if run.run_id in keys and _good(history, run)] for name, runs in by_phase.items()
    }
    columns = _columns([keys[run.run_id] for runs in good.values() for run in runs], good, keys)
    chosen = [{name: _newest(runs, column, keys) for name, runs in good.items()} for column in columns]
    return models.Baseline(
        columns=[models.BaselineColumn(label=_label(column), parameters=dict(column)) for column in columns],
        rows=[
            models.BaselineRow(phase=name, cells=[_cell(project, cells[name]) for cells in chosen]) for name in by_phase
        ],
        totals=[_total(cells.values()) for cells in chosen],
        sentence=_sentence(columns, chosen),
    )


def _good(history: History, run: PhaseRun) -> bool:
    phase = history.project.phases[run.phase]
    return (
        run.complete
        and not run.reused_run_id
        and phase.grade(run.metrics) == "good"
        and not history.quarantine_reason(run)
    )


def _keys(project: Project, by_phase: Mapping[str, Sequence[PhaseRun]]) -> dict[str, Key]:
    """Return the model of each run as pairs of parameter and value: its own, and those of its inputs."""
    declared = {name for phase in project.phases.values() for name in phase.parameters}
    naming = {name for name in MODEL_PARAMETERS if name in declared}
    naming = naming or {name for phase in project.phases.values() for name in phase.size}
    keys: dict[str, Key] = {}
    for runs in by_phase.values():  # Phases come after those that they need.
        for run in runs:
            taken_over = {pair for used in run.inputs.values() for pair in keys.get(used, ())}
            own = {name: unquoted(run.parameters[name]) for name in naming if name in run.parameters}
            keys[run.run_id] = tuple(sorted((dict(taken_over) | own).items()))
    return keys


def _columns(known: Iterable[Key], good: Mapping[str, Sequence[PhaseRun]], keys: Mapping[str, Key]) -> list[Key]:
    """Return the models, the one of the newest run first. A part of another key is no model of its own."""
    distinct = set(known)
    whole = [key for key in distinct if not any(set(key) < set(other) for other in distinct)]
    newest: dict[Key, float] = {}
    for run in (run for runs in good.values() for run in runs):
        key = keys[run.run_id]
        newest[key] = max(newest.get(key, 0.0), run.started_at.timestamp())
    return sorted(whole, key=lambda key: (-newest[key], key))[:_MOST_COLUMNS]


def _newest(runs: Sequence[PhaseRun], column: Key, keys: Mapping[str, Key]) -> PhaseRun | None:
    return next((run for run in runs if set(keys[run.run_id]) <= set(column)), None)


def _label(column: Key) -> str:
    if len(column) == 1 and column[0][0] in MODEL_PARAMETERS:
        return column[0][1]
    return ", ".join(f"{name} {value}" for name, value in column) or "all runs"


def _cell(project: Project, run: PhaseRun | None) -> models.BaselineCell | None:
    if run is None:
        return None
    whole = run_model(project.phases[run.phase], run)
    return models.BaselineCell(**{name: getattr(whole, name) for name in models.BaselineCell.model_fields})


def _total(cells: Iterable[PhaseRun | None]) -> models.BaselineTotal:
    done = [run for run in cells if run]
    return models.BaselineTotal(
        phases=len(done),
        duration_seconds=sum(finite(run.duration_seconds) or 0.0 for run in done),
        cost_usd=sum(finite(run.cost_usd) or 0.0 for run in done),
    )


def _sentence(columns: Sequence[Key], chosen: Sequence[Mapping[str, PhaseRun | None]]) -> str:
    parts = []
    for column, cells in zip(columns, chosen, strict=True):
        total = _total(cells.values())
        price = f"{describe_duration(total.duration_seconds)} and {describe_cost(total.cost_usd)}"
        missing = [name for name, run in cells.items() if run is None]
        parts.append(f"{_label(column)}: {price}" + (f", without {', '.join(missing)}" if missing else ""))
    return "; ".join(parts) if parts else "no phase has a good run yet"
