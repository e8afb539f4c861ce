"""A step: a phase or pipeline that the process of a phase starts by `mlflow.run`, and what its caller hands down."""

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType

import mlflow
from mlflow.exceptions import ExecutionException
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import NeedsAnswer
from mlflow_plugin.project.invocation import env_manager_of
from mlflow_plugin.project.parameters import unquoted
from mlflow_plugin.project.project import DECIDE_VALUES
from mlflow_plugin.store.run import PhaseRun

__all__ = [
    "MOST_CALLERS",
    "Caller",
    "Step",
    "StepAsks",
    "StepFailed",
    "caller_variable",
    "current_step",
    "end_with_one_message",
]

_logger = logging.getLogger(__name__)

VARIABLE = "MLFLOW_PHASES_CALLER"
"""What a phase hands down to the steps that its process starts, as JSON."""
MOST_CALLERS = 20
"""So many phases may call each other, one inside the other."""


class StepFailed(ExecutionException):
    """A step that failed or was refused. It is MLflow's own error, so that scripts which catch that catch this one."""


class StepAsks(SystemExit):
    """The end of a caller whose step asks a question that nobody answered."""

    def __init__(self, entry_point: str) -> None:
        super().__init__(NeedsAnswer.exit_code)
        self.reason = f"the step {entry_point} needs an answer"


def end_with_one_message() -> None:
    """Let the error of a step that a script does not catch end it with one message in place of a traceback."""
    before = sys.excepthook
    if getattr(before, "tells_of_steps", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, StepFailed):
            _logger.error(str(error))
        else:
            before(kind, error, trace)

    hook.tells_of_steps = True  # type: ignore[attr-defined]
    sys.excepthook = hook


@dataclass(frozen=True)
class Caller:
    """The phase whose process starts a step.

    Attributes:
        run_ids: The runs of the callers, the outermost first.
        env_manager: The environment manager that was named for the phase, empty for none.
        decide: How the questions of the phase are answered.
    """

    run_ids: tuple[str, ...]
    env_manager: str = ""
    decide: str = "ask"

    @classmethod
    def of_this_process(cls, client: MlflowClient) -> "Caller | None":
        """Return the caller as its environment, or else its run, tells of it; None in a process of no run.

        Raises:
            MlflowException: The store does not answer.
        """
        # `mlflow.start_run` removes the variable.
        run_id = os.environ.get("MLFLOW_RUN_ID", "")
        handed = _handed()
        if handed is not None:
            known = handed.run_ids if run_id in ("", *handed.run_ids) else (*handed.run_ids, run_id)
            return cls(known, handed.env_manager, handed.decide)
        active = mlflow.active_run()
        run_id = run_id or (active.info.run_id if active else "")
        if not run_id:
            return None
        data = client.get_run(run_id).data
        decide = unquoted(data.params.get("decide", "ask"))
        return cls((run_id,), env_manager_of(data.tags), decide if decide in DECIDE_VALUES else "ask")


@dataclass(frozen=True)
class Step:
    """A step that is being executed in this context.

    Attributes:
        caller: The phase that started it.
        run_id: The run that it is to be recorded on, empty to make one.
        results: Phase -> the run whose outputs count. Filled as its phases end.
    """

    caller: Caller
    run_id: str = ""
    results: dict[str, PhaseRun] = field(default_factory=dict)

    def take(self, phase: str, result: PhaseRun) -> None:
        """Take the run whose outputs count for a phase that has ended."""
        self.results[phase] = result


current_step: ContextVar[Step | None] = ContextVar("current_step", default=None)


def caller_variable(run_id: str, env_manager: str, decide: str) -> dict[str, str]:
    """Return the variable that tells the process of a run what to hand down to the steps that it starts."""
    step = current_step.get()
    run_ids = [*(step.caller.run_ids if step else ()), run_id]
    return {VARIABLE: json.dumps({"run_ids": run_ids, "env_manager": env_manager, "decide": decide})}


def _handed() -> Caller | None:
    with suppress(ValueError, TypeError, KeyError):
        content = json.loads(os.environ.get(VARIABLE, ""))
        if isinstance(content, Mapping):
            run_ids = tuple(map(str, content["run_ids"]))
            return Caller(run_ids, str(content["env_manager"]), str(content["decide"]))
    return None
