"""The commands that look: plan, explain, status, compare, doctor.

`status` also ends the runs of this machine whose process is gone; the others only read.
"""

import json
import sys

import click

from mlflow_plugin.cli.options import find_run, history_of, parameters_of, project_options
from mlflow_plugin.cli.output import say
from mlflow_plugin.errors import UsageError


@click.command()
@click.argument("entry_point", default="main")
@click.option(
    "-P", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter of the entry point, as for `mlflow run`."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
def plan(entry_point: str, pairs: tuple[str, ...], as_json: bool, project: str) -> None:
    """Show what an entry point would do now; run nothing.

    For each phase of ENTRY_POINT (default: main) it prints the verdict (reuse, resume, run, wait or ask), the reasons,
    the expected duration and cost, and the results that would become stale.
    """
    from mlflow_plugin.cli.tables import plan_text
    from mlflow_plugin.decision.lookup import plan as make_plan

    made = make_plan(project, entry_point, parameters_of(pairs))
    if as_json:
        say(json.dumps(made.to_dict(), indent=2))
        return
    say(plan_text(made))
    if question := next((verdict for verdict in made.verdicts if verdict.action == "ask"), None):
        answers = [one for one in question.options if one.decide != "fail"]
        commands = [f"  {one.letter}) {made.command} -P decide={one.decide}" for one in answers]
        if commands:
            say("\n".join(["\nto decide:", *commands]))


@click.command()
@click.argument("phase")
@click.option("-P", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter of the phase, as for `mlflow run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@project_options
def explain(phase: str, pairs: tuple[str, ...], as_json: bool, project: str) -> None:
    """List everything that a verdict rests on.

    For PHASE it prints the verdict with its reasons, and then each parameter, code file, upstream run, observed file,
    variable and package with its state: same, changed, missing, new, ignored or not compared.
    """
    from mlflow_plugin.cli.tables import explanation_text
    from mlflow_plugin.decision.explanation import explain_phase
    from mlflow_plugin.decision.request import request_for

    history = history_of(project)
    request = request_for(history.project, phase, parameters_of(pairs), history.client, history.experiment_id)
    if request.phase.matrix is not None:
        named = " ".join(f"-P {name}={values[0]}" for name, values in request.phase.matrix.values.items())
        raise UsageError(
            f"{phase} has a matrix: name one of its runs, as in `mlflow-phases explain {phase} {named}`. "
            f"`mlflow-phases plan {phase}` shows all of them."
        )
    explanation = explain_phase(request)
    say(json.dumps(explanation.to_dict(), indent=2) if as_json else explanation_text(explanation))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--watch", is_flag=True, help="Keep showing it, with the progress of running phases; q or Ctrl-C quits.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1),
    default=2.0,
    show_default=True,
    help="Seconds between two refreshes of --watch.",
)
@project_options
def status(as_json: bool, watch: bool, interval: float, project: str) -> None:
    """Show the state of each phase in the tracking store.

    Code and files on this machine are not compared: `mlflow-phases plan` and `explain` do that. The table lists the
    state of each phase, the time of its result, its quality, the match with the phases upstream, its duration and its
    cost. Below it stand the phases that need attention.
    """
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
        say(json.dumps([state.to_dict() for state in states], indent=2))
    else:
        say(status_table(states))
        if any(state.state == "up to date" for state in states):
            say("Compared are runs with runs. `mlflow-phases plan` compares them with the code and files here.")


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(run_a: str, run_b: str, as_json: bool) -> None:
    """Compare two runs of a phase.

    It prints the differences in parameters, inputs, environment and code, and then the differences in quality,
    duration and cost. Both runs must belong to the same phase.
    """
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.cli.comparison import compare_runs, comparison_text

    client = MlflowClient()
    view = compare_runs(client, find_run(client, run_a), find_run(client, run_b))
    say(json.dumps(view, indent=2) if as_json else comparison_text(view))


@click.command()
@project_options
def doctor(project: str) -> None:
    """Check that this machine can run the project.

    It checks the MLproject file, the environment, the tracking store, the backend, the hardware and the disk. The exit
    code is 1 if a requirement is missing.
    """
    from mlflow_plugin.cli.doctor import run_checks

    findings = run_checks(project)
    for finding in findings:
        say(f"{'ok     ' if finding.passed else 'MISSING'}  {finding.name}: {finding.detail}")
    sys.exit(0 if all(finding.passed or finding.optional for finding in findings) else 1)
