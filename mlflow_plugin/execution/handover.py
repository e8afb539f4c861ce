"""The handover from the process that decided to the one that computes: environment variables, and tags of the run."""

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.request import Request
from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.invocation import Invocation, env_manager_of
from mlflow_plugin.project.members import member_of
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.project.parameters import logged_value, without_defaults
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import with_members

DECIDED = "MLFLOW_PHASES_DECIDED"
"""Set to the run id by the backend, or by the script itself, when it decided before this process was started."""
LAUNCHED = "MLFLOW_PHASES_LAUNCHED"
"""Set to the run id by a script that decided by itself, for the processes that it then became."""
INTERPRETER = "MLFLOW_PHASES_INTERPRETER"
"""`sys.prefix` of the Python whose environment the backend has recorded, when that is its own."""
LONG_VALUES = "MLFLOW_PHASES_LONG_VALUES"
"""Parameters by name, as JSON, that the run does not show as they were given: MLflow cuts long ones."""


_INPUT = "PHASE_INPUT_"


def input_variables(inputs: Mapping[str, PhaseRun]) -> dict[str, str]:
    """Return the environment variables that name the run behind each need: `PHASE_INPUT_PHASE1` = run id.

    The runs of a set stand in the order of the matrix, with commas between them.
    """
    return {
        f"{_INPUT}{''.join(c if c.isalnum() else '_' for c in need).upper()}": ",".join(run.members or [run.run_id])
        for need, run in inputs.items()
    }


def own_input_variables(inputs: Mapping[str, PhaseRun]) -> dict[str, str | None]:
    """Return the same, with None for each input of another phase: one whose process has started this one."""
    return {**{name: None for name in os.environ if name.startswith(_INPUT)}, **input_variables(inputs)}


@contextmanager
def named_inputs(inputs: Mapping[str, PhaseRun]) -> Iterator[None]:
    """Set the variables that name the inputs inside the block. A phase that follows in this process has its own."""
    # The backend has set these already; under MLflow's own this is the first to know them.
    before = {name: value for name, value in os.environ.items() if name.startswith(_INPUT)}
    _replace_inputs(input_variables(inputs))
    try:
        yield
    finally:
        _replace_inputs(before)


def _replace_inputs(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(_INPUT) and name not in variables]:
        del os.environ[name]
    os.environ.update(variables)


def named_run() -> tuple[MlflowClient, str]:
    """Return the store and the id of the run that `mlflow run` made for this process. Raises UsageError without one."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # Otherwise nothing is seen for minutes over SSH or in a log file.
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    if not run_id:
        raise UsageError("this script is a phase of an MLflow Project: start it with `mlflow run . -e PHASE`.")
    # MLflow refuses a name beside the id that `mlflow run` hands down.
    if os.environ.get("MLFLOW_EXPERIMENT_ID"):
        os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    return MlflowClient(), run_id


def handed_request(
    client: MlflowClient, run_id: str, experiment_id: str, tags: dict[str, str], params: dict[str, str]
) -> Request:
    """Return the request that this process was started for, from its run's tags and parameters."""
    project = load_project(Path.cwd())
    name = tags.get("mlflow.project.entryPoint", "")
    phase = project.phase(name)
    handed = json.loads(os.environ.get(LONG_VALUES, "{}")) if os.environ.get(DECIDED) == run_id else {}
    given: dict[str, object] = {
        key: handed[key] if key in handed else logged_value(value, sys.argv)
        for key, value in params.items()
        if handed.get(key, "") is not None
    }
    phase = _one_run(phase, given)
    asked_as = Invocation(
        project.directory,
        name,
        without_defaults(given, phase.parameters),
        # MLflow's local backend would hand an undeclared `decide` to the script, which may not know that option.
        backend="" if "decide" in phase.parameters else "phases",
        experiment_id=experiment_id,
        env_manager=env_manager_of(tags),
        typed_elsewhere=True,
    )
    return Request(
        project, phase, given, client, experiment_id, argv=tuple(sys.argv), own_run_id=run_id, asked_as=asked_as
    )


def _one_run(phase: Phase, given: Mapping[str, object]) -> Phase:
    """Return the phase that one process computes. Raises UsageError for several runs of a matrix."""
    one = member_of(phase, given)
    if one.matrix is not None:
        names = ", ".join(one.matrix.values)
        raise UsageError(
            f"{phase.name}: MLflow's own backend has started one process for several values of {names}. "
            "Run all of them with `-b phases`, or one with one value for each."
        )
    return one


def decided_before(
    client: MlflowClient, run: PhaseRun, request: Request, tags: Mapping[str, str]
) -> tuple[dict[str, PhaseRun], tuple[str, ...], PhaseRun | None]:
    """Return what another process's verdict left on the run: inputs, ids of superseded runs, the run to resume."""
    history = History(client, run.experiment_id, request.project)
    fed = history.runs(run.inputs.values())
    inputs = {need: with_members(history, fed[used]) for need, used in run.inputs.items() if used in fed}
    superseded = tuple(filter(None, tags.get(schema.SUPERSEDES, "").split(",")))
    return inputs, superseded, history.run(tags.get(schema.RESUMED_FROM, ""))
