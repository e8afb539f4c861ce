"""Pass the parameters of a pipeline on to its phases."""

from collections.abc import Mapping

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.matrix import listed_values
from mlflow_plugin.project.project import Phase, Pipeline, Project


def check_parameters(project: Project, pipeline: Pipeline, given: Mapping[str, object]) -> None:
    """Check the parameters of all phases of a pipeline, so that the last one is not refused when the others are done.

    Raises:
        UsageError: A given parameter belongs to none of the phases, or one of a phase is missing or of the wrong type.
            The message names the phase.
    """
    known = project.pipeline_parameters(pipeline)
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"{pipeline.name} has no parameter {unknown[0]!r}. Its parameters: {', '.join(sorted(known))}."
        )
    for phase in project.order(pipeline.targets):
        try:
            phase.resolve(parameters_for_phase(pipeline, phase, given))
        except UsageError as error:
            raise UsageError(f"{phase.name}, a phase of {pipeline.name}: {error} Nothing was started.") from None


def parameters_for_phase(pipeline: Pipeline, phase: Phase, given: Mapping[str, object]) -> dict[str, object]:
    """Return the parameters of a pipeline that a phase takes.

    Args:
        pipeline: The pipeline, whose defaults count unless they are given. A single value does not narrow a matrix.
        phase: One of its phases.
        given: The parameters that the pipeline was started with.

    Returns:
        Those that the phase declares, its pinned inputs (`NEED_run_id`) and the plugin's own (`decide`, ...).
    """
    values: dict[str, object] = {
        name: parameter.default for name, parameter in pipeline.parameters.items() if parameter.default is not None
    }
    values |= given
    for name in phase.matrix.values if phase.matrix else ():
        # One value by default is meant for the other phases; a list, and every value that was given, is the matrix.
        if name in values and name not in given and len(listed_values(values[name])) == 1:
            del values[name]
    return {name: value for name, value in values.items() if name in {*phase.parameters, *phase.steering_parameters}}
