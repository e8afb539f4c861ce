"""The command that removes checkpoints which no run needs any more: gc."""

import json

import click

from mlflow_plugin.cli.options import history_of, project_options
from mlflow_plugin.cli.output import say
from mlflow_plugin.errors import PhaseError


@click.command()
@click.option("--delete", is_flag=True, help="Remove the checkpoints. Without it they are only listed.")
@click.option(
    "--keep-last",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Keep this many of the newest checkpoints of a complete run.",
)
@click.option(
    "--keep-best",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Keep this many of the best checkpoints of a complete run.",
)
@click.option("--keep-every", type=click.IntRange(1), help="Keep one checkpoint of a complete run every so many steps.")
@click.option("--also-used", is_flag=True, help="Include runs that other runs were made from or refer to.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
def gc(delete: bool, also_used: bool, as_json: bool, project: str, **keep: int | None) -> None:
    """List or remove checkpoints that no run needs.

    It lists the checkpoints that no run will resume from, with their sizes, and removes them with --delete. For
    interrupted runs the MLproject file says how many stay. Running and quarantined runs keep all. Outputs are never
    removed.
    """
    from mlflow_plugin.checkpoints.garbage_collection import GarbageCollection
    from mlflow_plugin.cli.tables import garbage_table
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.project.project import CheckpointPolicy

    history = history_of(project)
    collection = GarbageCollection(history, CheckpointPolicy(**keep), also_used=also_used)  # type: ignore[arg-type]
    garbage = list(collection.collect(Records(history.client)) if delete else collection.look())
    say(json.dumps([one.to_dict() for one in garbage], indent=2) if as_json else garbage_table(garbage, deleted=delete))
    if errors := [one.trouble for one in garbage if one.trouble]:
        raise PhaseError("; ".join(errors))
