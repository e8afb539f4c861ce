"""The command that removes checkpoints: gc."""

import json

import click

from mlflow_plugin.cli.options import history_of, project_options
from mlflow_plugin.errors import PhaseError


@click.command()
@click.option("--delete", is_flag=True, help="Remove it. Without, it is only shown.")
@click.option("--keep-last", type=click.IntRange(1), default=1, show_default=True, help="Of complete runs: the newest.")
@click.option("--keep-best", type=click.IntRange(0), default=1, show_default=True, help="Of complete runs: the best.")
@click.option("--keep-every", type=click.IntRange(1), help="Of complete runs: one every so many steps.")
@click.option("--also-used", is_flag=True, help="Also of runs that others were made from or that others name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
def gc(delete: bool, also_used: bool, as_json: bool, project: str, **keep: int | None) -> None:
    """Which checkpoints nobody will go on from, and how many bytes they take. Removes them with --delete.

    Of interrupted runs those stay that the MLproject file says. Running and quarantined runs are left alone. Outputs
    are never touched.
    """
    from mlflow_plugin.checkpoints.garbage_collection import GarbageCollection
    from mlflow_plugin.cli.tables import garbage_table
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.project.project import CheckpointPolicy

    history = history_of(project)
    collection = GarbageCollection(history, CheckpointPolicy(**keep), also_used=also_used)  # type: ignore[arg-type]
    found = list(collection.collect(Records(history.client)) if delete else collection.look())
    click.echo(
        json.dumps([one.to_dict() for one in found], indent=2) if as_json else garbage_table(found, deleted=delete)
    )
    if troubles := [one.trouble for one in found if one.trouble]:
        raise PhaseError("; ".join(troubles))
