"""The pipeline as plain data: each phase's state, what it was made from, and what it takes to mend it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.format import clock, short
from mlflow_plugin.reports.status import Edge, PhaseState, pipeline_state
from mlflow_plugin.reports.views.live import live_dict
from mlflow_plugin.reports.views.phase_runs import gate_list, iso, quality_dict, run_dict
from mlflow_plugin.reports.views.questions import questions_view
from mlflow_plugin.reports.views.update import Mending, first_of
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

SCHEMA_VERSION = 1


def pipeline_view(history: History) -> dict[str, Any]:
    """The whole pipeline. Times are ISO 8601 UTC; seconds; US dollars."""
    states = pipeline_state(history.project, history)
    mending = Mending(history, states)
    project = history.project
    return {
        "schema_version": SCHEMA_VERSION,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "experiment": {"id": history.experiment_id, "name": history.experiment_name() or None},
        "project": {
            "name": project.name,
            "pipelines": [{"name": one.name, "targets": list(one.targets)} for one in project.pipelines.values()],
        },
        "phases": [_phase_dict(state, mending) for state in states],
        "questions": questions_view(history),
        "summary": _summary(states, mending),
    }


def _phase_dict(state: PhaseState, mending: Mending) -> dict[str, Any]:
    phase, run = state.phase, state.run
    return {
        "phase": phase.name,
        "needs": list(phase.needs),
        "state": state.state,
        "label": _label(state),
        "remarks": list(state.remarks),
        "quality": quality_dict(phase, run),
        "gates": gate_list(phase, run.metrics if run and run.complete else None),
        "run": run_dict(phase, run) if run else None,
        "inputs": [_edge_dict(edge) for edge in state.edges],
        "mend": mending.of_phase(phase.name),
        "live": live_dict(state.busy) if state.busy else None,
    }


def _label(state: PhaseState) -> str:
    """The state in a few words, with the newest date that belongs to it."""
    run = state.busy or state.run
    if run is None:
        return "missing: never run"
    when = f"since {clock(run.started_at)}" if state.busy else f"of {clock(run.when)}"
    return f"{state.state}: {run.short} {when}"


def _edge_dict(edge: Edge) -> dict[str, Any]:
    return {
        "need": edge.need,
        "matches": edge.matches,
        "used": _end(edge.used_id, edge.used),
        "latest": _end(edge.latest.run_id, edge.latest) if edge.latest else None,
        "sentence": edge.sentence(),
    }


def _end(run_id: str, run: PhaseRun | None) -> dict[str, Any] | None:
    """One of the two runs of an edge; one that was deleted meanwhile has only its id."""
    completed_at = iso(run.completed_at) if run else None
    return {"run_id": run_id, "short": short(run_id), "completed_at": completed_at} if run_id else None


def _summary(states: Sequence[PhaseState], mending: Mending) -> dict[str, Any]:
    """The whole in a sentence or two, and what it takes to mend all of it."""
    by_state: dict[str, list[str]] = {}
    for state in states:
        by_state.setdefault(state.state, []).append(state.phase.name)
    mend = mending.of_all()
    up_to_date = len(by_state.get("up to date", []))
    others = [
        f"{' and '.join(names) if len(names) < 3 else first_of(names)} {'is' if len(names) == 1 else 'are'} {state}"
        for state, names in by_state.items()
        if state != "up to date"
    ]
    told = (
        f"{up_to_date} of {len(states)} phases {'is' if up_to_date == 1 else 'are'} up to date"
        if others
        else f"all {len(states)} phases are up to date"
    )
    sentence = "; ".join([told, *others]) + "."
    return {
        "sentence": f"{sentence} {mend['summary']}" if mend else sentence,
        "up_to_date": up_to_date,
        "stale": [name for state in ("stale", "invalidated") for name in by_state.get(state, [])],
        "states": by_state,
        "mend": mend,
    }
