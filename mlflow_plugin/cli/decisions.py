"""The commands that mark runs: answer, quarantine, rollback."""

from typing import TYPE_CHECKING

import click

from mlflow_plugin.cli.options import find_run, history_of, project_options
from mlflow_plugin.errors import UsageError
from mlflow_plugin.format import short

if TYPE_CHECKING:
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.store.run import PhaseRun


@click.command()
@click.argument("run_id")
@click.argument("letter")
def answer(run_id: str, letter: str) -> None:
    """Answers the question of a run that waits, with the LETTER of an option."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.execution.answers import answer as give_answer
    from mlflow_plugin.store.run_encoding import user

    client = MlflowClient()
    run = find_run(client, run_id)
    answered = give_answer(client, run.run_id, letter, user())
    if not answered.counted:
        raise UsageError(f"{run_id}: {answered.message}")
    click.echo(answered.message)


@click.command()
@click.argument("run_id")
@click.option("--reason", help="Why the run must not be used.")
@click.option("--lift", is_flag=True, help="Allow its use again.")
def quarantine(run_id: str, reason: str | None, lift: bool) -> None:
    """Marks a run as do-not-use: neither it nor anything built on it is reused until the mark is lifted."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.execution.rollback import consequences

    if bool(reason) == lift:
        raise UsageError("give --reason WHY to quarantine a run, or --lift to allow its use again.")
    client = MlflowClient()
    run = find_run(client, run_id)
    if run.reused_run_id:
        # What may be bad are the outputs, and those belong to the run that was reused.
        click.echo(f"{run.phase} {run.short} reused the outputs of {short(run.reused_run_id)}: that run is meant")
        run = find_run(client, run.reused_run_id)
    records = Records(client)
    if lift:
        if not run.quarantined:
            raise UsageError(f"{run.phase} {run.short} is not quarantined.")
        records.lift_quarantine(run.run_id)
        click.echo(f"{run.phase} {run.short} may be used again")
        return
    _mark(records, run, reason or "")
    for line in consequences(client, run):
        click.echo(f"  {line}")


@click.command()
@click.argument("phase")
@click.option("--to", "to_run_id", metavar="RUN", help="The run to go back to; default: the one before the newest.")
@click.option("--reason", required=True, help="Why the later runs must not be used.")
@project_options
def rollback(phase: str, to_run_id: str | None, reason: str, project: str) -> None:
    """Goes back to an earlier run of PHASE: quarantines the later ones, and says what falls with them."""
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.execution.rollback import consequences, to_be_marked

    history = history_of(project)
    declared = history.project.phase(phase)
    records = Records(history.client)
    marked = to_be_marked(history, declared, find_run(history.client, to_run_id) if to_run_id else None)
    for run in marked:
        _mark(records, run, reason)
    # Of the oldest: everything that hangs on the others is later than that.
    for line in consequences(history.client, marked[-1]):
        click.echo(f"  {line}")


def _mark(records: "Records", run: "PhaseRun", reason: str) -> None:
    records.quarantine(run.run_id, reason)
    click.echo(f"{run.phase} {run.short} is quarantined: {reason}; nothing built on it is reused either")
