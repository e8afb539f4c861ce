"""The group of the `mlflow-phases` commands: how their errors are shown."""

import os
import sys
from typing import Any

import click

from mlflow_plugin.cli.output import say
from mlflow_plugin.errors import PhaseError, store_trouble
from mlflow_plugin.progress import attach_terminal_handler
from mlflow_plugin.store.schema import SHORT_PATIENCE


class PhasesGroup(click.Group):
    """Show every error that a person can fix as one message, and end with its exit code."""

    def invoke(self, context: click.Context) -> Any:
        attach_terminal_handler()
        for name, value in SHORT_PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            return super().invoke(context)
        except PhaseError as error:
            end(str(error), error.exit_code)
        except KeyboardInterrupt:
            end("stopped", 130)
        except Exception as error:
            if _is_mlflow_error(error):
                end(str(store_trouble(error)), 1)
            raise


def _is_mlflow_error(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException)


def end(message: str, exit_code: int) -> None:
    """Print a message to standard error and end the process."""
    say(f"mlflow-phases: {message}", error=True)
    sys.exit(exit_code)
