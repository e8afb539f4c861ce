"""Let `mlflow.run` of a step, in a process of a phase, ask for the step's verdict first."""

import functools
import importlib
import os
import sys
import warnings

VARIABLE = "MLFLOW_PHASES_OBSERVE"
PROJECTS = "mlflow.projects"


def wrap(module, observing):
    """Wrap `mlflow.projects.run`, which is `mlflow.run` as well."""
    run = module.run

    @functools.wraps(run)
    def run_step(*arguments, **options):
        if observing.is_paused() or os.environ.get(VARIABLE, "off") == "off" or _is_of_mlflow(sys._getframe(1)):
            return run(*arguments, **options)
        observing.pause()
        try:
            step = _prepared(run, arguments, options)
        finally:
            observing.resume()
        if step is None:
            return run(*arguments, **options)
        observing.pause()
        try:
            return step()
        finally:
            observing.resume()

    module.run = run_step
    mlflow = sys.modules.get("mlflow")
    if getattr(mlflow, "run", None) is run:
        mlflow.run = run_step


def _is_of_mlflow(frame):
    """Tell whether MLflow's own command calls, which names a backend in any case."""
    return frame.f_globals.get("__name__", "") in ("mlflow.cli", "mlflow.projects")


def _prepared(run, arguments, options):
    """Return what runs the step by its verdict, None where MLflow is to run it as ever."""
    try:
        steps = importlib.import_module("mlflow_plugin.backends.steps")
    except ImportError as error:
        warnings.warn(
            f"steps that mlflow.run starts are not decided on: {error}. Add mlflow-phases to this environment.",
            stacklevel=4,
        )
        return None
    return steps.prepared(run, arguments, options)
