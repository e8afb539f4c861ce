"""Decide on everything that an entry point would do, phase by phase. Reads, never writes."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.past import estimate_phase
from mlflow_plugin.decision.request import Request, request_for
from mlflow_plugin.decision.verdict import Plan, Verdict
from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.invocation import Invocation
from mlflow_plugin.project.pipeline_parameters import check_parameters, parameters_for_phase
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.history import History


def planned(
    decide: Callable[[Request, History | None], Verdict],
    base: Path,
    loaded: Project,
    entry_point: str,
    given: Mapping[str, object],
    store: MlflowClient,
    experiment: str,
) -> Plan:
    """Return the verdict on each phase of an entry point, as it would be reached now.

    Args:
        decide: Returns the verdict on a phase, or on the set of runs of one with a matrix.
        base: The folder that relative paths among the parameters start from.
        loaded: The project.
        entry_point: A phase or a pipeline.
        given: The parameters.
        store: The tracking store.
        experiment: The experiment.

    Raises:
        UsageError: The entry point is unknown or a parameter wrong.
        MlflowException: The store does not answer.
    """
    pipeline = loaded.pipelines.get(entry_point)
    if pipeline is None and entry_point not in loaded.phases:
        there = ", ".join([*loaded.pipelines, *loaded.phases]) or "none"
        raise UsageError(f"{loaded.file}: there is no phase or pipeline {entry_point!r}. There are: {there}.")
    asked_as = Invocation(loaded.directory, entry_point, given, backend="phases", experiment_id=experiment)
    if pipeline is None:
        request = request_for(loaded, entry_point, given, store, experiment, base=base, asked_as=asked_as)
        return Plan(entry_point, (replace(decide(request, None), phase=entry_point),), asked_as.command())
    check_parameters(loaded, pipeline, given)
    verdicts: dict[str, Verdict] = {}
    history, phases = History(store, experiment, loaded), loaded.order(pipeline.targets)
    history.read_ahead(phase.name for phase in phases)
    for number, phase in enumerate(phases, 1):
        request = request_for(
            loaded,
            phase.name,
            parameters_for_phase(pipeline, phase, given),
            store,
            experiment,
            base=base,
            inputs={need: verdicts[need].run_id or "" for need in phase.needs if verdicts[need].action == "reuse"},
            asked_as=asked_as,
            force_allowed=False,
            in_pipeline=True,
            following=tuple(later.name for later in phases[number:]),
        )
        own = None if request.graph else history
        verdict = replace(decide(request, own), phase=phase.name)
        verdicts[phase.name] = _in_sequence(request, verdict, verdicts, history)
    return Plan(entry_point, tuple(verdicts.values()), asked_as.command())


def _in_sequence(request: Request, verdict: Verdict, before: Mapping[str, Verdict], history: History) -> Verdict:
    phase = request.shown
    changing = [need for need in phase.needs if before[need].action != "reuse"]
    if not changing:
        return verdict
    later = " and ".join(changing)
    reason = f"decided after {later}: computed unless {later} gives the same bytes as before"
    # A verdict of reuse has no estimate, and it is this phase's own inputs that are about to change.
    expected = verdict.estimate or estimate_phase(history, phase, request.values, request.price())
    return Verdict(phase.name, "run", (reason,), kind="after", estimate=expected, inputs=verdict.inputs)
