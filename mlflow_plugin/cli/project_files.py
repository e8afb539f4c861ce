"""The command that puts the files of a run back into the project: checkout."""

import click

from mlflow_plugin.cli.options import find_run, history_of, project_options
from mlflow_plugin.cli.output import say
from mlflow_plugin.errors import PhaseError, UsageError


@click.command()
@click.argument("phase", required=False)
@click.option("--run", "run_id", metavar="RUN", help="The run whose files are put back.  [default: the latest]")
@click.option("--force", is_flag=True, help="Move aside what was made or edited by hand.")
@project_options
def checkout(phase: str | None, run_id: str | None, force: bool, project: str) -> None:
    """Put the files that a phase leaves in the project back.

    Without PHASE those of all phases that declare `outputs:`. What no run has stored is never overwritten: `--force`
    moves it into a folder below `.mlflow-phases/aside` of the project, and says which.
    """
    from mlflow_plugin.execution.project_files import ProjectFiles

    history = history_of(project)
    declared = history.project
    if run_id and not phase:
        raise UsageError("--run needs the PHASE that the run is of.")
    chosen = [declared.phase(phase)] if phase else [one for one in declared.order(declared.phases) if one.outputs]
    if not chosen or not all(one.outputs for one in chosen):
        what = f"{phase} declares" if phase else "no phase declares"
        raise UsageError(f"{declared.file}: {what} {'no ' if phase else ''}`outputs:`, so no files are kept.")
    files, left = ProjectFiles(history, declared), []
    for one in chosen:
        run = find_run(history.client, run_id) if run_id else history.latest(one)
        if run is None:
            say(f"{one.name}: it has no usable run yet")
            continue
        if run.reused_run_id:
            run = find_run(history.client, run.reused_run_id)
        if run.phase != one.name or not run.complete:
            raise UsageError(f"{run_id}: this is no complete run of {one.name}.")
        if not files.restore(one, run, force=force):
            left.append(one.name)
        else:
            say(f"{one.name}: the files of {run.short} are in place")
    if left:
        raise PhaseError(f"{', '.join(left)}: not put back; see the warning above.")
