"""The Python lookup: `find_reusable` for one phase, `plan` for everything that an entry point would do. Reads, never
writes.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.evidence import decide_phase
from mlflow_plugin.decision.members import decide_members, set_verdict
from mlflow_plugin.decision.past import estimate_phase
from mlflow_plugin.decision.request import Request
from mlflow_plugin.decision.verdict import Plan, Verdict
from mlflow_plugin.errors import UsageError, store_trouble
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.members import member_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.pipeline_parameters import check_parameters, parameters_for_phase
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.history import NO_EXPERIMENT, History


def find_reusable(
    project: str | Path | Project,
    phase: str,
    parameters: Mapping[str, object] | None = None,
    *,
    experiment_id: str | None = None,
    client: MlflowClient | None = None,
) -> Verdict:
    """Return the verdict on one phase with these parameters, as `mlflow run` would reach it now.

    Args:
        project: The folder of an MLflow Project, its MLproject file, or a loaded project.
        phase: The name of the phase.
        parameters: Parameters by name, as on the command line; the others have their defaults.
        experiment_id: The experiment; by default the one that MLflow would use (`MLFLOW_EXPERIMENT_NAME`,
            `MLFLOW_EXPERIMENT_ID`, else experiment 0).
        client: The tracking store; by default that of `MLFLOW_TRACKING_URI`.

    Returns:
        A verdict: `action` is reuse, resume, run, wait or ask, `run_id` the run that it is about.

    Raises:
        UsageError: The project is malformed, the phase unknown or a parameter wrong.
        PhaseError: The store does not answer.
    """
    loaded = project if isinstance(project, Project) else load_project(project)
    store = client or MlflowClient()
    try:
        given, declared = dict(parameters or {}), loaded.phase(phase)
        request = Request(loaded, member_of(declared, given), given, store, experiment_id or current_experiment(store))
        return _verdict(request, History(store, request.experiment_id, loaded))
    except MlflowException as error:
        raise store_trouble(error) from None


def plan(
    project: str | Path | Project,
    entry_point: str = "main",
    parameters: Mapping[str, object] | None = None,
    *,
    experiment_id: str | None = None,
    client: MlflowClient | None = None,
) -> Plan:
    """Return the verdict on each phase of an entry point, with costs and stale runs, without doing anything.

    A phase after one that would be computed cannot be judged yet: its verdict is `run`, and names that phase. Arguments
    and errors are those of `find_reusable`.
    """
    loaded = project if isinstance(project, Project) else load_project(project)
    store, given = client or MlflowClient(), dict(parameters or {})
    pipeline = loaded.pipelines.get(entry_point)
    if pipeline is None and entry_point not in loaded.phases:
        there = ", ".join([*loaded.pipelines, *loaded.phases]) or "none"
        raise UsageError(f"{loaded.file}: there is no phase or pipeline {entry_point!r}. There are: {there}.")
    try:
        experiment = experiment_id or current_experiment(store)
        asked_as = Invocation(loaded.directory, entry_point, given, backend="phases", experiment_id=experiment)
        if pipeline is None:
            phase = member_of(loaded.phase(entry_point), given)
            request = Request(loaded, phase, given, store, experiment, asked_as=asked_as)
            return Plan(entry_point, (_verdict(request, History(store, experiment, loaded)),), asked_as.command())
        check_parameters(loaded, pipeline, given)
        verdicts: dict[str, Verdict] = {}
        history, phases = History(store, experiment, loaded), loaded.order(pipeline.targets)
        history.read_ahead(phase.name for phase in phases)
        for number, phase in enumerate(phases, 1):
            request = Request(
                loaded,
                phase,
                parameters_for_phase(pipeline, phase, given),
                store,
                experiment,
                inputs={need: verdicts[need].run_id or "" for need in phase.needs if verdicts[need].action == "reuse"},
                asked_as=asked_as,
                force_allowed=False,
                following=tuple(later.name for later in phases[number:]),
            )
            verdict = _verdict(request, history)
            verdicts[phase.name] = _in_sequence(request, verdict, verdicts, history)
    except MlflowException as error:
        raise store_trouble(error) from None
    return Plan(entry_point, tuple(verdicts.values()), asked_as.command())


def _verdict(request: Request, history: History) -> Verdict:
    """Return the verdict on a phase; on one with a matrix, that on the set of its runs."""
    if request.phase.matrix is None:
        return decide_phase(request, history).verdict
    return set_verdict(request, decide_members(request, history), history)[0]


def _in_sequence(request: Request, verdict: Verdict, before: Mapping[str, Verdict], history: History) -> Verdict:
    phase = request.phase
    changing = [need for need in phase.needs if before[need].action != "reuse"]
    if not changing:
        return verdict
    later = " and ".join(changing)
    reason = f"decided after {later}: computed unless {later} gives the same bytes as before"
    # A verdict of reuse has no estimate, and it is this phase's own inputs that are about to change.
    expected = verdict.estimate or estimate_phase(history, phase, request.values, request.price())
    return Verdict(phase.name, "run", (reason,), kind="after", estimate=expected, inputs=verdict.inputs)


def current_experiment(client: MlflowClient) -> str:
    """Return the id of the experiment that MLflow would log to; `NO_EXPERIMENT` when the first run has yet to create
    it.
    """
    if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
        experiment = client.get_experiment_by_name(name)
        return str(experiment.experiment_id) if experiment else NO_EXPERIMENT
    return os.environ.get("MLFLOW_EXPERIMENT_ID", "0")
