"""The pipeline: the state of each phase, its inputs, and the way to bring it up to date."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mlflow_plugin.decision.quality import quality_of
from mlflow_plugin.format import clock, finite, short
from mlflow_plugin.project.project import Phase
from mlflow_plugin.project.vocabulary import State
from mlflow_plugin.reports import models
from mlflow_plugin.reports.status import Edge, PhaseState, pipeline_state
from mlflow_plugin.reports.views.live import live_model
from mlflow_plugin.reports.views.phase_runs import gate_models, quality_model, run_model
from mlflow_plugin.reports.views.questions import questions_view
from mlflow_plugin.reports.views.update import UpdatePlanner, first_of
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import label_of


def pipeline_view(history: History) -> models.PipelineState:
    """Return the state of the whole pipeline, the content of `state.json`."""
    states = pipeline_state(history.project, history)
    planner = UpdatePlanner(history, states)
    project = history.project
    return models.PipelineState(
        schema_version=1,
        at=datetime.now(UTC).replace(microsecond=0),
        experiment=models.Experiment(id=history.experiment_id, name=history.experiment_name() or None),
        project=models.Project(
            name=project.name,
            pipelines=[models.Pipeline(name=one.name, targets=list(one.targets)) for one in project.pipelines.values()],
        ),
        phases=[_phase_model(state, planner) for state in states],
        questions=questions_view(history),
        summary=_summary(states, planner),
    )


def _phase_model(state: PhaseState, planner: UpdatePlanner) -> models.Phase:
    phase, run = state.phase, state.run
    return models.Phase(
        phase=phase.name,
        needs=list(phase.needs),
        state=state.state,
        label=_label(state),
        remarks=list(state.remarks),
        quality=quality_model(phase, run),
        gates=gate_models(phase, run.metrics if run and run.complete else None),
        run=run_model(phase, run) if run else None,
        inputs=[_input_model(edge) for edge in state.edges],
        update=planner.of_phase(phase.name),
        live=live_model(state.busy) if state.busy else None,
        matrix=_matrix_model(phase, run) if phase.matrix else None,
    )


def _matrix_model(phase: Phase, run: PhaseRun | None) -> models.Matrix:
    """Return the set of runs of a phase; without one, the number of runs that it declares."""
    asked_for = run.matrix.get("count") if run else None
    declared = phase.matrix.count() if phase.matrix else 0
    runs = [
        models.MatrixRun(
            run_id=one.run_id, short=one.short, values=label_of(phase, one), quality=finite(quality_of(phase, one))
        )
        for one in (run.member_runs if run else ())
    ]
    return models.Matrix(count=asked_for if isinstance(asked_for, int) else declared, runs=runs)


def _label(state: PhaseState) -> str:
    """Return the state in a few words, with the newest date that belongs to it."""
    run = state.busy or state.run
    if run is None:
        return "missing: never run"
    when = f"since {clock(run.started_at)}" if state.busy else f"of {clock(run.when)}"
    return f"{state.state}: {run.short} {when}"


def _input_model(edge: Edge) -> models.Input:
    return models.Input(
        need=edge.need,
        matches=edge.matches,
        used=_input_run(edge.used_id, edge.used),
        latest=_input_run(edge.latest.run_id, edge.latest) if edge.latest else None,
        sentence=edge.sentence(),
    )


def _input_run(run_id: str, run: PhaseRun | None) -> models.InputRun | None:
    """Return one of the two runs of an input; one that was deleted since has only its id."""
    if not run_id:
        return None
    return models.InputRun(run_id=run_id, short=short(run_id), completed_at=run.completed_at if run else None)


def _summary(states: Sequence[PhaseState], planner: UpdatePlanner) -> models.Summary:
    by_state: dict[State, list[str]] = {}
    for state in states:
        by_state.setdefault(state.state, []).append(state.phase.name)
    plan = planner.of_all()
    sentence = _sentence(by_state, len(states))
    return models.Summary(
        sentence=f"{sentence} {plan.summary}" if plan else sentence,
        up_to_date=len(by_state.get("up to date", [])),
        stale=[*by_state.get("stale", []), *by_state.get("invalidated", [])],
        states=by_state,
        update=plan,
    )


def _sentence(by_state: Mapping[State, Sequence[str]], count: int) -> str:
    others = [
        f"{' and '.join(names) if len(names) < 3 else first_of(names)} {'is' if len(names) == 1 else 'are'} {state}"
        for state, names in by_state.items()
        if state != "up to date"
    ]
    up_to_date = len(by_state.get("up to date", []))
    first = (
        f"{up_to_date} of {count} phases {'is' if up_to_date == 1 else 'are'} up to date"
        if others
        else f"all {count} phases are up to date"
    )
    return "; ".join([first, *others]) + "."
