"""Which of a pipeline's parameters go to which phase."""

from collections.abc import Mapping

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.project import Phase, Pipeline, Project


def check_parameters(project: Project, pipeline: Pipeline, given: Mapping[str, object]) -> None:
    """Raises UsageError for a parameter that none of the pipeline's phases has."""
    known = project.pipeline_parameters(pipeline)
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"{pipeline.name} has no parameter {unknown[0]!r}. Its parameters: {', '.join(sorted(known))}."
        )


def handed_down(pipeline: Pipeline, phase: Phase, given: Mapping[str, object]) -> dict[str, object]:
    """The pipeline's parameters that a phase declares too; pins and the plugin's own always go along."""
    values: dict[str, object] = {
        name: parameter.default for name, parameter in pipeline.parameters.items() if parameter.default is not None
    }
    values |= given
    return {name: value for name, value in values.items() if name in {*phase.parameters, *phase.steering_parameters}}
