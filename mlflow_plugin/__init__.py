"""Decides before a phase of an MLflow Project runs: reuse, resume, run, wait or ask."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow_plugin.active import ActivePhase
    from mlflow_plugin.api import find_reusable, plan
    from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
    from mlflow_plugin.phase import start_phase
    from mlflow_plugin.verdict import Loss, Option, Plan, Verdict

__all__ = [
    "ActivePhase",
    "Loss",
    "NeedsAnswer",
    "Option",
    "PhaseError",
    "Plan",
    "UsageError",
    "Verdict",
    "find_reusable",
    "plan",
    "start_phase",
]

_HOME = {
    "ActivePhase": "active",
    "Plan": "verdict",
    "find_reusable": "api",
    "plan": "api",
    "Loss": "verdict",
    "Option": "verdict",
    "Verdict": "verdict",
    "NeedsAnswer": "errors",
    "PhaseError": "errors",
    "UsageError": "errors",
    "start_phase": "phase",
}


def __getattr__(name: str) -> Any:
    # MLflow takes a second to import; a script that only parses its arguments should not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
