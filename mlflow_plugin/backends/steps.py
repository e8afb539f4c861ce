"""`mlflow.run` in the process of a phase: hand the step to the backend `phases`, so that its verdict comes first.

The observation of the phase calls this (`observation/injected/_mlflow_phases_steps.py`).
"""

import inspect
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.projects.submitted_run import SubmittedRun
from mlflow.tracking import MlflowClient

from mlflow_plugin.backends.execution import FinishedRun
from mlflow_plugin.decision.calls import given_by_program
from mlflow_plugin.decision.handed import doubts_of_steps, step_doubt
from mlflow_plugin.errors import NeedsAnswer, PhaseError
from mlflow_plugin.execution.observer import SWITCH
from mlflow_plugin.execution.steps import (
    MOST_CALLERS,
    Caller,
    Step,
    StepAsks,
    StepFailed,
    current_step,
    end_with_one_message,
)
from mlflow_plugin.machine.requirements import unmet_requirements
from mlflow_plugin.observation.beginning import Beginning
from mlflow_plugin.observation.calls import RecordedCall, Result, step_name
from mlflow_plugin.observation.environment_files import environment_file
from mlflow_plugin.observation.recorder import unobserved
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.project.mlproject import has_keys, load_project
from mlflow_plugin.store import schema
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun

__all__ = ["prepared"]

_logger = logging.getLogger(__name__)
_told: set[str] = set()
_OUTPUTS, _MOST_LEFT = f"{schema.PROJECT_FILES}/", 1000

Run = Callable[..., SubmittedRun]


def prepared(run: Run, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> Callable[[], SubmittedRun] | None:
    """Return a function that executes a step by its verdict; None where MLflow is to run it as ever.

    Args:
        run: MLflow's own `mlflow.run`.
        arguments: The positional arguments of the call.
        options: The keyword arguments of the call.
    """
    attach_terminal_handler()
    end_with_one_message()
    try:
        given = dict(inspect.signature(run).bind(*arguments, **options).arguments)
    except TypeError:
        return None  # MLflow says what is wrong.
    entry_point = str(given.get("entry_point", "main"))
    folder = _local_folder(given.get("uri"))
    if folder is None:
        _tell_not_decided(given["uri"], entry_point, "it is no folder of this machine")
        return None
    if not has_keys(folder, entry_point):
        return None
    if why := _why_not(given, folder):
        _tell_not_decided(given["uri"], entry_point, why)
        return None
    caller = Caller.of_this_process(MlflowClient())
    return (lambda: _unobserved(run, given, folder, entry_point, caller)) if caller else None


def _local_folder(uri: object) -> Path | None:
    """Return the folder that a URI names, with `#subfolder` as MLflow takes it; None where it is none."""
    if not isinstance(uri, str | os.PathLike):
        return None
    path, _, below = os.fspath(uri).strip("'\"").partition("#")
    folder = Path(path.removeprefix("file://"), below)
    return Path(os.path.abspath(folder)) if folder.is_dir() else None


def _why_not(given: Mapping[str, Any], folder: Path) -> str:
    """Say why a step with keys cannot be handed down; empty where it can."""
    backend = given.get("backend")
    if backend not in (None, "phases"):
        return f"the call names backend={backend!r}"
    if not given.get("synchronous", True):
        return "the call says synchronous=False"
    if given.get("version") is not None:
        return "the call names a version"
    try:
        image = load_project(folder).image
    except PhaseError:
        image = ""  # It is told when the step is executed.
    return f"it runs in a container of {image}" if image else ""


def _tell_not_decided(uri: object, entry_point: str, why: str) -> None:
    message = (
        f"mlflow.run of {uri}, entry point {entry_point}, is not decided on, since {why}. MLflow runs it as ever, and "
        "what it reads counts for the phase that calls it"
    )
    if message not in _told:
        _told.add(message)
        _logger.warning(message)


def _unobserved(run: Run, given: dict[str, Any], folder: Path, entry_point: str, caller: Caller) -> SubmittedRun:
    with unobserved():  # What a step reads is in a trace of its own.
        return _executed(run, given, folder, entry_point, caller)


def _executed(run: Run, given: dict[str, Any], folder: Path, entry_point: str, caller: Caller) -> SubmittedRun:
    """Execute a step with the backend `phases`, and record the call for the trace of its caller."""
    parameters = {name: value if isinstance(value, _PLAIN) else str(value) for name, value in _parameters(given)}
    if len(caller.run_ids) > MOST_CALLERS:
        raise StepFailed(f"{folder}: {len(caller.run_ids)} phases call each other, one inside the other.")
    step, began = Step(caller, str(given.pop("run_id", None) or "")), time.monotonic()
    record = partial(_record, given, folder, entry_point, step, variables=_set_by_caller())
    manager = given.get("env_manager") or caller.env_manager or None
    if not given.get("env_manager") and manager == "local":
        _tell_environment(folder)
    if "decide" not in parameters and caller.decide != "ask":
        parameters["decide"] = caller.decide
    call = {**given, "parameters": parameters, "backend": "phases", "env_manager": manager}
    _logger.info(f"step {entry_point} of {folder}")
    doubts = tuple(said for of, said in _doubts.items() if of != (str(folder), entry_point) and said)
    tokens = current_step.set(step), given_by_program.set(True), doubts_of_steps.set(doubts)
    try:
        submitted = run(**call)
    except NeedsAnswer as question:
        record(question=str(question))
        _logger.error(str(question))
        raise StepAsks(step_name(folder.name, entry_point)) from None
    except Exception as error:
        record()
        if isinstance(error, PhaseError):
            raise StepFailed(str(error)) from None
        raise
    finally:
        current_step.reset(tokens[0])
        given_by_program.reset(tokens[1])
        doubts_of_steps.reset(tokens[2])
    record(seconds=time.monotonic() - began)
    _doubt(folder, step)
    result = step.results.get(entry_point)
    # What a reused step has logged is in the run that counts; the new run only names that.
    return submitted if step.run_id or result is None else FinishedRun(result.run_id)


_doubts: dict[tuple[str, str], str] = {}
"""Folder and phase -> why its files in the project may not be those of the run that counts for it, in this process."""


def _doubt(folder: Path, step: Step) -> None:
    """Remember the phases of a step whose files in the project are not known to be those of their runs."""
    project = load_project(folder)
    for name, run in step.results.items():
        if phase := project.phases.get(name):
            history = History(MlflowClient(), run.experiment_id, project)
            _doubts[str(folder), name] = step_doubt(history, phase, run)


_PLAIN = (str, int, float, bool)


def _parameters(given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(str(name), value) for name, value in dict(given.get("parameters") or {}).items()]


def _tell_environment(folder: Path) -> None:
    """Warn of a step that runs in its caller's environment although that does not satisfy it."""
    file = environment_file(folder)
    try:
        unmet = unmet_requirements(file) if file else []
    except PhaseError:
        return  # The step will tell.
    if unmet:
        _logger.warning(
            f"{file}: the environment of the caller ({sys.prefix}) does not satisfy it: {'; '.join(unmet[:5])}. The "
            "step runs in it all the same, as its caller was started with --env-manager local; give mlflow.run an "
            "env_manager to have one built"
        )


def _set_by_caller() -> dict[str, str]:
    """Return the digests of the variables that the script of the caller has set since it began."""
    folder = os.environ.get(SWITCH, "")
    return Beginning.of(Path(folder)).changes(os.environ) if folder else {}


def _left(folder: Path, runs: Iterable[PhaseRun]) -> tuple[str, ...]:
    """Return the files that a step has left, or put back, in its project, as far as they are told on its run."""
    sizes = [run.outputs.get("sizes", {}) for run in runs if run.outputs and not run.members]
    names = [name for of_run in sizes for name in of_run if name.startswith(_OUTPUTS)]
    return tuple(str(folder / name.removeprefix(_OUTPUTS)) for name in names[:_MOST_LEFT])


def _record(
    given: Mapping[str, Any],
    folder: Path,
    entry_point: str,
    step: Step,
    variables: Mapping[str, str],
    seconds: float = 0.0,
    question: str = "",
) -> None:
    experiments = {run.experiment_id for run in step.results.values()} - {os.environ.get("MLFLOW_EXPERIMENT_ID", "0")}
    RecordedCall(
        project=str(folder),
        entry_point=entry_point,
        parameters={name: str(value) for name, value in _parameters(given)},
        base=os.getcwd(),
        experiment=experiments.pop() if experiments else "",
        results={phase: Result(run.run_id, run.output_digest) for phase, run in step.results.items()},
        question=question,
        seconds=seconds,
        variables=dict(variables),
        left=_left(folder, step.results.values()),
    ).tell()
