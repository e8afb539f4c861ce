"""The `mlflow-phases` command."""

import click

from mlflow_plugin.cli.decisions import answer, quarantine, rollback
from mlflow_plugin.cli.garbage_collection import gc
from mlflow_plugin.cli.group import PhasesGroup
from mlflow_plugin.cli.inspection import compare, doctor, explain, plan, status
from mlflow_plugin.cli.project_files import checkout
from mlflow_plugin.cli.reports import log, report, state


@click.group(cls=PhasesGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlflow-phases")
def main() -> None:
    """Inspect the phases of an MLflow project, and decide on their runs.

    The commands read the tracking store that MLflow uses. To name another set MLFLOW_TRACKING_URI, or start in the
    folder that holds the store. Start with `mlflow-phases plan` and `mlflow-phases status` in the folder of the
    MLproject file.
    """


_LOOKING = (plan, explain, status, compare, log, state, report, doctor)
for _command in (*_LOOKING, answer, quarantine, rollback, checkout, gc):
    main.add_command(_command)
