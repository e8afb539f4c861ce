"""The commands that look: plan, status, compare, doctor."""

import json
import sys

import click

from mlflow_plugin.cli.options import find_run, history_of, parameters_of, project_options
from mlflow_plugin.errors import UsageError


@click.command()
@click.argument("entry_point", default="main")
@click.option("-P", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter, as for `mlflow run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
def plan(entry_point: str, pairs: tuple[str, ...], as_json: bool, project: str) -> None:
    """What ENTRY_POINT would do, why, what it would cost and what it would invalidate. Does nothing."""
    from mlflow_plugin.cli.tables import plan_text
    from mlflow_plugin.decision.lookup import plan as make_plan

    found = make_plan(project, entry_point, parameters_of(pairs))
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2))
        return
    click.echo(plan_text(found))
    for verdict in found.verdicts:
        if verdict.action == "ask":
            click.echo(
                f"\nto decide: {found.command} -P decide=" + "|".join(option.decide for option in verdict.options)
            )
            return


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Go on showing it, with the progress of what runs, until q or Ctrl-C.")
@click.option("--interval", type=click.FloatRange(0.1), default=2.0, show_default=True, help="With --watch: seconds.")
@project_options
def status(as_json: bool, watch: bool, interval: float, project: str) -> None:
    """The pipeline as a table: phase, state, completed at, quality, whether it matches upstream, duration, cost."""
    from mlflow_plugin.cli.tables import status_table
    from mlflow_plugin.execution.records import Records
    from mlflow_plugin.reports.status import end_dead, pipeline_state

    if watch and as_json:
        raise UsageError("give --watch or --json, not both: `mlflow-phases state` writes JSON as often as you like.")
    history = history_of(project)
    if watch:
        from mlflow_plugin.cli.status_watch import watch_status

        watch_status(lambda: history_of(project), interval)
        return
    states = pipeline_state(history.project, history)
    end_dead(Records(history.client), history.project, states)
    if as_json:
        click.echo(json.dumps([state.to_dict() for state in states], indent=2))
    else:
        click.echo(status_table(states))


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(run_a: str, run_b: str, as_json: bool) -> None:
    """How RUN_B was made otherwise than RUN_A, a run of the same phase, and what came of it."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.cli.comparison import compare_runs, comparison_text

    client = MlflowClient()
    view = compare_runs(client, find_run(client, run_a), find_run(client, run_b))
    click.echo(json.dumps(view, indent=2) if as_json else comparison_text(view))


@click.command()
@project_options
def doctor(project: str) -> None:
    """What is missing on this machine for running the project's phases. Ends with 1 when something is."""
    from mlflow_plugin.cli.doctor import examine

    findings = examine(project)
    for finding in findings:
        click.echo(f"{'ok     ' if finding.sound else 'MISSING'}  {finding.what}: {finding.detail}")
    sys.exit(0 if all(finding.sound or finding.optional for finding in findings) else 1)
