"""The `mlflow-phases` command."""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from mlflow_plugin.errors import PhaseError, UsageError, store_trouble
from mlflow_plugin.names import SHORT_PATIENCE, short

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.runs import PhaseRun


class _Group(click.Group):
    """Shows every error that a person can mend as one message, with its exit code."""

    def invoke(self, context: click.Context) -> Any:
        for name, value in SHORT_PATIENCE.items():
            os.environ.setdefault(name, value)
        try:
            return super().invoke(context)
        except PhaseError as error:
            _end(str(error), error.exit_code)
        except KeyboardInterrupt:
            _end("stopped", 130)
        except Exception as error:
            if _is_mlflow_error(error):
                _end(str(store_trouble(error)), 1)
            raise


def _is_mlflow_error(error: Exception) -> bool:
    from mlflow.exceptions import MlflowException

    return isinstance(error, MlflowException)


def _end(message: str, exit_code: int) -> None:
    click.echo(f"mlflow-phases: {message}", err=True)
    sys.exit(exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mlflow-phases")
def main() -> None:
    """What was done, what would be done, and what that would throw away.

    The tracking store is the one that MLflow uses: set MLFLOW_TRACKING_URI, or work in the folder that holds it.
    """


def _project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--project", default=".", show_default=True, help="Folder that holds the MLproject file.")
    @click.option("--experiment-name", help="Experiment to look in; default as MLflow's.")
    @click.option("--experiment-id", help="The same, by id.")
    @wraps(command)
    def wrapped(experiment_name: str | None, experiment_id: str | None, **options: Any) -> Any:
        if experiment_name and experiment_id:
            raise UsageError("give --experiment-name or --experiment-id, not both.")
        if experiment_name:
            os.environ["MLFLOW_EXPERIMENT_NAME"] = experiment_name
        if experiment_id:
            os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
            os.environ["MLFLOW_EXPERIMENT_ID"] = experiment_id
        return command(**options)

    return wrapped


def _parameters(pairs: tuple[str, ...]) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in pairs:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise UsageError(f"-P {pair}: write -P NAME=VALUE.")
        if name in given:
            raise UsageError(f"-P {name} was given twice.")
        given[name] = value
    return given


@main.command()
@click.argument("entry_point", default="main")
@click.option("-P", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter, as for `mlflow run`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_project_options
def plan(entry_point: str, pairs: tuple[str, ...], as_json: bool, project: str) -> None:
    """What ENTRY_POINT would do, why, what it would cost and what it would invalidate. Does nothing."""
    from mlflow_plugin.api import plan as make_plan
    from mlflow_plugin.tables import plan_text

    found = make_plan(project, entry_point, _parameters(pairs))
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


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_project_options
def status(as_json: bool, project: str) -> None:
    """The pipeline as a table: phase, state, completed at, quality, whether it matches upstream, duration, cost."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.api import current_experiment
    from mlflow_plugin.history import History
    from mlflow_plugin.mlproject import load_project
    from mlflow_plugin.records import Records
    from mlflow_plugin.status import end_dead, pipeline_state
    from mlflow_plugin.tables import status_table

    declared = load_project(project)
    client = MlflowClient()
    states = pipeline_state(declared, History(client, current_experiment(client), declared))
    end_dead(Records(client), declared, states)
    if as_json:
        click.echo(json.dumps([state.to_dict() for state in states], indent=2))
    else:
        click.echo(status_table(states))


def _find_run(client: "MlflowClient", run_id: str) -> "PhaseRun":
    from mlflow.exceptions import MlflowException

    from mlflow_plugin.history import phase_run

    try:
        run = phase_run(client.get_run(run_id))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UsageError(f"{run_id}: there is no such run in this tracking store. Give the whole run id.") from None
        raise
    if not run.phase:
        raise UsageError(f"{run_id}: that run is no phase run.")
    return run


@main.command()
@click.argument("run_id")
@click.argument("letter")
def answer(run_id: str, letter: str) -> None:
    """Answers the question of a run that waits, with the LETTER of an option."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.answers import answer as give_answer
    from mlflow_plugin.tags import user

    client = MlflowClient()
    run = _find_run(client, run_id)
    answered = give_answer(client, run.run_id, letter, user())
    if not answered.counted:
        raise UsageError(f"{run_id}: {answered.message}")
    click.echo(answered.message)


@main.command()
@click.argument("run_id")
@click.option("--reason", help="Why the run must not be used.")
@click.option("--lift", is_flag=True, help="Allow its use again.")
def quarantine(run_id: str, reason: str | None, lift: bool) -> None:
    """Marks a run as do-not-use: neither it nor anything built on it is reused until the mark is lifted."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.records import Records

    if bool(reason) == lift:
        raise UsageError("give --reason WHY to quarantine a run, or --lift to allow its use again.")
    client = MlflowClient()
    run = _find_run(client, run_id)
    if run.reused_run_id:
        # What may be bad are the outputs, and those belong to the run that was reused.
        click.echo(f"{run.phase} {run.short} reused the outputs of {short(run.reused_run_id)}: that run is meant")
        run = _find_run(client, run.reused_run_id)
    records = Records(client)
    if lift:
        if not run.quarantined:
            raise UsageError(f"{run.phase} {run.short} is not quarantined.")
        records.lift_quarantine(run.run_id)
        click.echo(f"{run.phase} {run.short} may be used again")
        return
    records.quarantine(run.run_id, reason or "")
    click.echo(f"{run.phase} {run.short} is quarantined: {reason}; nothing built on it is reused either")


@main.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(run_a: str, run_b: str, as_json: bool) -> None:
    """How RUN_B was made otherwise than RUN_A, a run of the same phase, and what came of it."""
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.comparison import compare_runs, comparison_text

    client = MlflowClient()
    view = compare_runs(client, _find_run(client, run_a), _find_run(client, run_b))
    click.echo(json.dumps(view, indent=2) if as_json else comparison_text(view))


@main.command()
@click.option("--delete", is_flag=True, help="Remove it. Without, it is only shown.")
@click.option("--keep-last", type=click.IntRange(1), default=1, show_default=True, help="Of complete runs: the newest.")
@click.option("--keep-best", type=click.IntRange(0), default=1, show_default=True, help="Of complete runs: the best.")
@click.option("--keep-every", type=click.IntRange(1), help="Of complete runs: one every so many steps.")
@click.option("--also-used", is_flag=True, help="Also of runs that others were made from or that others name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_project_options
def gc(delete: bool, also_used: bool, as_json: bool, project: str, **keep: int | None) -> None:
    """Which checkpoints nobody will go on from, and how many bytes they take. Removes them with --delete.

    Of interrupted runs those stay that the MLproject file says. Running and quarantined runs are left alone. Outputs
    are never touched.
    """
    from mlflow.tracking import MlflowClient

    from mlflow_plugin.api import current_experiment
    from mlflow_plugin.garbage_collection import GarbageCollection
    from mlflow_plugin.history import History
    from mlflow_plugin.mlproject import load_project
    from mlflow_plugin.project import CheckpointPolicy
    from mlflow_plugin.records import Records
    from mlflow_plugin.tables import garbage_table

    declared, client = load_project(project), MlflowClient()
    history = History(client, current_experiment(client), declared)
    collection = GarbageCollection(history, CheckpointPolicy(**keep), also_used=also_used)  # type: ignore[arg-type]
    found = list(collection.collect(Records(client)) if delete else collection.look())
    click.echo(
        json.dumps([one.to_dict() for one in found], indent=2) if as_json else garbage_table(found, deleted=delete)
    )
    if troubles := [one.trouble for one in found if one.trouble]:
        raise PhaseError("; ".join(troubles))


@main.command()
@_project_options
def doctor(project: str) -> None:
    """What is missing on this machine for running the project's phases. Ends with 1 when something is."""
    from mlflow_plugin.doctor import examine

    findings = examine(project)
    for finding in findings:
        click.echo(f"{'ok     ' if finding.sound else 'MISSING'}  {finding.what}: {finding.detail}")
    sys.exit(0 if all(finding.sound or finding.optional for finding in findings) else 1)


if __name__ == "__main__":
    main()
