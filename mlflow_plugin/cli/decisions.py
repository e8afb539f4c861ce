"""The commands that record a person's decision about runs: answer, quarantine, rollback."""

from typing import TYPE_CHECKING

import click

from mlflow_plugin.cli.options import find_run, history_of, project_options
from mlflow_plugin.cli.output import say
from mlflow_plugin.errors import UsageError
from mlflow_plugin.format import short

if TYPE_CHECKING:
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.store.run import PhaseRun


@click.command()
@click.argument("run_id")
@click.argument("letter")
def answer(run_id: str, letter: str) -> None:
    """Answer the question of a waiting run.

    LETTER is the letter of the option, as the question lists it.
    """
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.execution.answers import answer as give_answer
    from mlflow_plugin.store.run_encoding import user

    client = MlflowClient()
    run = find_run(client, run_id)
    receipt = give_answer(client, run.run_id, letter, user())
    if not receipt.counted:
        raise UsageError(f"{run_id}: {receipt.message}")
    say(receipt.message)


@click.command()
@click.argument("run_id")
@click.option("--reason", help="Why the run must not be used.")
@click.option("--lift", is_flag=True, help="Lift the quarantine: allow the reuse of the run again.")
def quarantine(run_id: str, reason: str | None, lift: bool) -> None:
    """Quarantine a run: it must not be reused.

    Neither the run nor a result made from it is reused until `--lift`. Nothing is deleted.
    """
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.execution.rollback import consequences

    if bool(reason) == lift:
        raise UsageError("give --reason WHY to quarantine a run, or --lift to allow its use again.")
    client = MlflowClient()
    run = find_run(client, run_id)
    if run.reused_run_id:
        # The outputs may be bad, and they belong to the reused run.
        say(f"{run.phase} {run.short} reused the outputs of {short(run.reused_run_id)}; this applies to that run")
        run = find_run(client, run.reused_run_id)
    records = Records(client)
    if run.members and not lift:
        raise UsageError(
            f"{run.phase} {run.short} is a set of runs, and they would be reused. Quarantine the one that is bad: "
            f"{', '.join(run.members[:10])}."
        )
    if lift:
        if not run.quarantined:
            raise UsageError(f"{run.phase} {run.short} is not quarantined.")
        records.lift_quarantine(run.run_id)
        say(f"{run.phase} {run.short} may be used again")
        return
    _quarantine(records, run, reason or "")
    for line in consequences(client, [run]):
        say(f"  {line}")


@click.command()
@click.argument("phase")
@click.option("--to", "to_run_id", metavar="RUN", help="The run to go back to.  [default: the one before the newest]")
@click.option("--reason", required=True, help="Why the later runs must not be used.")
@project_options
def rollback(phase: str, to_run_id: str | None, reason: str, project: str) -> None:
    """Go back to an earlier run of a phase.

    It quarantines the later runs of PHASE, and lists the results made from them, which are not reused either.
    """
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.execution.rollback import consequences, to_be_marked

    history = history_of(project)
    declared = history.project.phase(phase)
    records = Records(history.client)
    to = find_run(history.client, to_run_id) if to_run_id else None
    # A phase of another MLproject file has a name of its own here.
    quarantined = to_be_marked(history, declared, to and (history.run(to.run_id) or to))
    for run in quarantined:
        _quarantine(records, run, reason)
    for line in consequences(history.client, quarantined, history):
        say(f"  {line}")


def _quarantine(records: "Records", run: "PhaseRun", reason: str) -> None:
    records.quarantine(run.run_id, reason)
    say(f"{run.phase} {run.short} is quarantined: {reason}; nothing built on it is reused either")
