"""Environment variables by which the process that decided tells the process that computes."""

from collections.abc import Mapping

from mlflow_plugin.store.run import PhaseRun

DECIDED = "MLFLOW_PHASES_DECIDED"
"""Set to the run id by the backend, or by the script itself, when it decided before this process was started."""
LAUNCHED = "MLFLOW_PHASES_LAUNCHED"
"""Set to the run id by a script that decided by itself, for the processes that it then became."""
INTERPRETER = "MLFLOW_PHASES_INTERPRETER"
"""`sys.prefix` of the Python whose environment the backend has recorded, when that is its own."""
LONG_VALUES = "MLFLOW_PHASES_LONG_VALUES"
"""Parameters by name, as JSON, that MLflow cuts when it logs them."""


def input_variables(inputs: Mapping[str, PhaseRun]) -> dict[str, str]:
    """Return the environment variables that name the run behind each need: `PHASE_INPUT_PHASE1` = run id."""
    return {
        f"PHASE_INPUT_{''.join(c if c.isalnum() else '_' for c in need).upper()}": run.run_id
        for need, run in inputs.items()
    }
