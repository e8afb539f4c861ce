"""Check what the phases and pipelines of a project say of each other."""

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter
from itertools import combinations

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.matrix_keys import several_artifacts
from mlflow_plugin.project.outputs import any_outputs, overlap
from mlflow_plugin.project.project import Pipeline, Project

__all__ = ["check_graph"]


def check_graph(project: Project, fault: Callable[[str, str, str], UsageError]) -> None:
    """Check what holds between the phases and pipelines of a project, after each was read for itself alone.

    Args:
        project: The project with the phases of other files that it needs.
        fault: Makes the error for an entry point, a key, and what is wrong with it.

    Raises:
        UsageError: A need or target is no phase, the needs form a cycle, or outputs, inputs or parameters do not fit.
    """
    for phase in project.phases.values():
        for need in phase.needs:
            if need not in project.phases:
                phases = ", ".join(project.phases)
                raise fault(phase.name, "phase.needs", f"{need!r} is not a phase of this file; phases: {phases}")
    _check_outputs(project, fault)
    _check_matrices(project, fault)
    for pipeline in project.pipelines.values():
        for target in pipeline.targets:
            if target not in project.phases:
                raise UsageError(
                    f"{project.file}: entry point {pipeline.name!r}, key `pipeline`: {target!r} is not a phase of "
                    f"this file. Allowed: {', '.join(project.phases) or 'none is declared'}."
                )
    try:
        TopologicalSorter({phase.name: phase.needs for phase in project.phases.values()}).prepare()
    except CycleError as error:
        cycle = error.args[1]
        raise fault(
            cycle[0], "phase.needs", f"the phases depend on each other in a cycle: {' -> '.join(reversed(cycle))}"
        ) from None
    for pipeline in project.pipelines.values():
        _check_pipeline_parameters(project, pipeline)


def _check_matrices(project: Project, fault: Callable[[str, str, str], UsageError]) -> None:
    for phase in project.phases.values():
        if problem := several_artifacts(phase):
            raise fault(phase.name, "phase.inputs", problem)


def _check_outputs(project: Project, fault: Callable[[str, str, str], UsageError]) -> None:
    own = [phase for phase in project.phases.values() if phase.origin is None]
    declared = [(phase.name, pattern) for phase in own for pattern in any_outputs(phase)]
    for (first, one), (second, other) in combinations(declared, 2):
        if first != second and overlap(one, other):
            problem = f"{other!r} and {one!r}, an output of {first}, may name the same file"
            raise fault(second, "phase.outputs", problem)


def _check_pipeline_parameters(project: Project, pipeline: Pipeline) -> None:
    allowed = project.pipeline_parameters(pipeline)
    if unknown := sorted(set(pipeline.parameters) - allowed):
        raise UsageError(
            f"{project.file}: entry point {pipeline.name!r}, key `parameters`: none of its phases has a parameter "
            f"{unknown[0]!r}. Allowed: {', '.join(sorted(allowed))}."
        )
