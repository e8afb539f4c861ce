"""Read the keys of a phase with a matrix, and check what other phases take from it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlflow_plugin.project.matrix import Matrix
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.phase_keys import PhaseKeys
from mlflow_plugin.project.project import PLUGIN_PARAMETERS, Phase

__all__ = ["KeyProblem", "declared_matrix", "several_artifacts", "with_matrix_needs"]


class KeyProblem(ValueError):
    """What is wrong with a key below `phase:`."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(problem)
        self.key = key


def declared_matrix(keys: PhaseKeys, parameters: Mapping[str, Parameter]) -> Matrix | None:
    """Return the matrix of a phase, None without one. `exclude` may stand inside of `matrix` too.

    Args:
        keys: The keys of the phase.
        parameters: The parameters of its entry point.

    Raises:
        KeyProblem: A key does not fit.
    """
    if keys.matrix is None:
        for key in ("exclude", "at_least", "at_most"):
            if getattr(keys, key):
                raise KeyProblem(key, "there is no `matrix:` that it belongs to")
        return None
    values, exclude = dict(keys.matrix), list(keys.exclude)
    if "exclude" in values and "exclude" not in parameters:
        inner = values.pop("exclude")
        if not isinstance(inner, list) or not all(isinstance(entry, dict) for entry in inner):
            raise KeyProblem("exclude", f"must be a list of mappings, got {inner!r}")
        exclude += inner
    _check_parameters(keys, values, parameters)
    try:
        matrix = Matrix.checked(values, parameters, exclude, keys.at_least, keys.at_most)
    except ValueError as error:
        key = next((key for key in ("exclude", "at_least") if str(error).startswith(f"`{key}`")), "matrix")
        raise KeyProblem(key, str(error)) from None
    if problem := _outputs_problem(keys.outputs or (), tuple(values)):
        raise KeyProblem("outputs", problem)
    return matrix


def _check_parameters(keys: PhaseKeys, values: Mapping[str, object], parameters: Mapping[str, Parameter]) -> None:
    if not values:
        raise KeyProblem("matrix", "names no parameter")
    steering = {*PLUGIN_PARAMETERS, *(f"{need}_run_id" for need in keys.needs), *keys.inputs}
    for name, listed in values.items():
        if name not in parameters:
            raise KeyProblem("matrix", f"{name!r} is not a parameter of this entry point")
        if name in keys.ignore:
            raise KeyProblem("matrix", f"{name!r} stands under `ignore`, so its runs would all be the same")
        if name in steering:
            raise KeyProblem("matrix", f"{name!r} does not change the result")
        if not isinstance(listed, list):
            raise KeyProblem("matrix", f"{name!r} must be a list, got {listed!r}")


def _outputs_problem(patterns: Sequence[str], names: Sequence[str]) -> str:
    """Say what is wrong with the outputs of a matrix: each must name every parameter. Empty for nothing."""
    for pattern in patterns:
        for name in names:
            if f"{{{name}}}" not in pattern:
                return (
                    f"{pattern!r} does not name the parameter {name!r} of the matrix, so its runs would write the same "
                    f"file. Write {{{name}}} into the path, such as models/{{{name}}}.pkl"
                )
    return ""


def with_matrix_needs(phases: Mapping[str, Phase]) -> dict[str, Phase]:
    """Return phases that know which of their needs have a matrix."""
    matrices = frozenset(name for name, phase in phases.items() if phase.matrix is not None)
    return {
        name: replace(phase, matrix_needs=matrices & set(phase.needs)) if matrices & set(phase.needs) else phase
        for name, phase in phases.items()
    }


def several_artifacts(phase: Phase) -> str:
    """Say which parameter cannot be an artifact, because the phase before it has a matrix. Empty for none."""
    for parameter, artifact in phase.inputs.items():
        if artifact.need in phase.matrix_needs:
            return (
                f"{parameter!r} cannot be an artifact of {artifact.need}, whose matrix makes several runs. Take them "
                f"with `needs:` and `phase.inputs({artifact.need!r})`"
            )
    return ""
