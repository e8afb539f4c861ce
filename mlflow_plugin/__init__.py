"""Decide before a phase of an MLflow Project runs: reuse, resume, run, wait or ask."""

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError(
        "mlflow-phases does not run on Windows, because the file locks and signals that it needs are POSIX: "
        "use Linux, macOS or the Windows Subsystem for Linux (WSL)."
    )

from mlflow_plugin.progress import filter_messages

if TYPE_CHECKING:
    from mlflow_plugin.decision.lookup import find_reusable, plan
    from mlflow_plugin.decision.verdict import Option, Plan, SupersededRun, Verdict
    from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError
    from mlflow_plugin.phase.active import ActivePhase
    from mlflow_plugin.phase.start import start_phase

__all__ = [
    "ActivePhase",
    "NeedsAnswer",
    "Option",
    "PhaseError",
    "Plan",
    "SupersededRun",
    "UsageError",
    "Verdict",
    "find_reusable",
    "plan",
    "start_phase",
]

_FOLDERS = {
    "ActivePhase": "phase.active",
    "NeedsAnswer": "errors",
    "Option": "decision.verdict",
    "PhaseError": "errors",
    "Plan": "decision.verdict",
    "SupersededRun": "decision.verdict",
    "UsageError": "errors",
    "Verdict": "decision.verdict",
    "find_reusable": "decision.lookup",
    "plan": "decision.lookup",
    "start_phase": "phase.start",
}
_RENAMED = {"Loss": "SupersededRun"}
"""Public names of version 0.1. They warn, and version 0.3 removes them."""


filter_messages()


def __getattr__(name: str) -> Any:
    # MLflow takes a second to import; a script that only parses its arguments should not wait for it.
    if name in _RENAMED:
        import warnings

        warnings.warn(f"mlflow_plugin.{name} is now {_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _FOLDERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name == "start_phase":
        # A script reads its settings between this import and the call: they count for the phase.
        import_module(f"{__name__}.observation.recorder").observe_early()
    return getattr(import_module(f"{__name__}.{_FOLDERS[name]}"), name)
