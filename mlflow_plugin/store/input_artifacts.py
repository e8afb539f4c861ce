"""Resolve a parameter that is an artifact of an upstream run (`inputs:`) to a file or folder on this machine."""

import re
from collections.abc import Mapping
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.outputs import OutputFiles, fetch_outputs, inputs_cache, read_manifest
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.run_decoding import phase_run
from mlflow_plugin.store.verification import local_folders

__all__ = ["artifact_paths", "artifact_uris", "check_artifacts", "refuse_artifacts_by_hand"]

_ARTIFACT = re.compile(r".*/([0-9a-f]{32})/artifacts(?:/.*)?")


def check_artifacts(phase: Phase, inputs: Mapping[str, PhaseRun]) -> None:
    """Raise before anything is computed when an upstream run has no such artifact.

    Raises:
        UsageError: The message names the artifacts that it has.
        PhaseError: The manifest of the run cannot be read.
    """
    for name, artifact in phase.inputs.items():
        _name_in_outputs(phase, name, artifact.path, inputs[artifact.need])


def artifact_paths(client: MlflowClient, phase: Phase, inputs: Mapping[str, PhaseRun]) -> dict[str, str]:
    """Return the local path of each parameter under `inputs`. Files of a local store are used in place.

    Raises:
        UsageError: An upstream run has no such artifact.
        PhaseError: What was fetched from a remote store is damaged, or the store does not answer.
    """
    return {
        name: str(_local_path(client, phase, name, artifact.path, inputs[artifact.need]))
        for name, artifact in phase.inputs.items()
        if artifact.need in inputs
    }


def artifact_uris(phase: Phase, inputs: Mapping[str, str]) -> dict[str, str]:
    """Return what the run shows for each parameter under `inputs`: `runs:/RUN/PATH`.

    Args:
        phase: The phase.
        inputs: The ids of the upstream runs by need.
    """
    return {
        name: f"runs:/{inputs[artifact.need]}/{artifact.path}"
        for name, artifact in phase.inputs.items()
        if artifact.need in inputs
    }


def refuse_artifacts_by_hand(client: MlflowClient, phase: Phase, given: Mapping[str, object]) -> None:
    """Raise for a parameter that was given the artifact of a phase's run: the lineage would not know of it.

    Raises:
        UsageError: The message names the phase and the key to write.
    """
    for name, value in given.items():
        found = _ARTIFACT.fullmatch(str(value)) if name not in phase.steering_parameters else None
        if not found:
            continue
        try:
            run = phase_run(client.get_run(found[1]))
        except MlflowException:
            continue  # No run of this store: a folder like any other.
        if run.phase:
            raise UsageError(
                f"{phase.name}: {name}={value} is an artifact of {run.phase} {run.short}, so {phase.name} would depend "
                f"on a run that it does not declare. Write `inputs: {{{name}: {run.phase}/PATH}}` under `phase:`, and "
                f"choose another run than the latest with -P {run.phase}_run_id=RUN."
            )


def _local_path(client: MlflowClient, phase: Phase, parameter: str, path: str, run: PhaseRun) -> Path:
    name = _name_in_outputs(phase, parameter, path, run)
    folders = local_folders(client, run)
    beginning = max((one for one in folders if f"{name}/".startswith(one)), key=len, default=None)
    if beginning is not None:
        return folders[beginning] / name.removeprefix(beginning)
    return fetch_outputs(client, run, inputs_cache()) / name


def _name_in_outputs(phase: Phase, parameter: str, path: str, run: PhaseRun) -> str:
    """Return the name that an artifact has in the manifest, which begins below the run's folder for outputs."""
    names = read_manifest(run).files
    for name in (path, path.removeprefix(f"{OutputFiles.of(run).folder}/")):
        if name in names or any(other.startswith(f"{name}/") for other in names):
            return name
    there = ", ".join(sorted({other.partition("/")[0] for other in names})[:5]) or "none at all"
    raise UsageError(
        f"{phase.name}: the parameter {parameter} is the artifact {path!r} of {run.phase}, and {run.phase} {run.short} "
        f"has no such artifact. It has: {there}."
    )
