"""Several phases in order, in one process: each decided, and only those computed that need it."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mlflow_plugin.decision import middling
from mlflow_plugin.errors import NeedsAnswer, PhaseError, UsageError, store_trouble
from mlflow_plugin.evidence import Request
from mlflow_plugin.execution import Execution, Outcome, absolute_tracking_uri, carry_out
from mlflow_plugin.history import phase_run
from mlflow_plugin.invocation import Invocation, env_manager_of
from mlflow_plugin.mlproject import load_project
from mlflow_plugin.parameters import logged_value, without_defaults
from mlflow_plugin.progress import say
from mlflow_plugin.project import Phase, Pipeline, Project
from mlflow_plugin.records import Records
from mlflow_plugin.reports.pipeline_reports import kept_reports
from mlflow_plugin.tables import outcome_table, quality_cell
from mlflow_plugin.termination import orderly_termination


def handed_down(pipeline: Pipeline, phase: Phase, given: Mapping[str, object]) -> dict[str, object]:
    """The pipeline's parameters that a phase declares too; pins and the plugin's own always go along."""
    values: dict[str, object] = {
        name: parameter.default for name, parameter in pipeline.parameters.items() if parameter.default is not None
    }
    values |= given
    return {name: value for name, value in values.items() if name in {*phase.parameters, *phase.steering_parameters}}


def check_parameters(project: Project, pipeline: Pipeline, given: Mapping[str, object]) -> None:
    """Raises UsageError for a parameter that none of the pipeline's phases has."""
    known = project.pipeline_parameters(pipeline)
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"{pipeline.name} has no parameter {unknown[0]!r}. Its parameters: {', '.join(sorted(known))}."
        )


def run_pipeline(
    project: Project,
    name: str,
    given: Mapping[str, object],
    client: MlflowClient,
    experiment_id: str,
    execution: Execution,
    invocation: Invocation,
    run_id: str = "",
) -> str:
    """Runs a pipeline's phases under one parent run and prints what became of each; returns the parent run's id.

    Raises PhaseError as soon as a phase fails or a question stays open; what was done by then is kept.
    """
    pipeline = project.pipelines[name]
    check_parameters(project, pipeline, given)
    records = Records(client)
    parent = run_id or records.create_pipeline(project, pipeline.name, given, experiment_id, execution.backend_name)
    phases = project.order(pipeline.targets)
    outcomes: dict[str, Outcome] = {}
    accepted: frozenset[str] = frozenset()
    began = time.monotonic()
    done: dict[str, str] = {}
    with kept_reports(project, client, experiment_id, parent, phases, done):
        try:
            for number, phase in enumerate(phases, 1):
                say(f"{phase.name} ({number} of {len(phases)})")
                request = Request(
                    project,
                    phase,
                    handed_down(pipeline, phase, given),
                    client,
                    experiment_id,
                    force_allowed=False,
                    inputs={need: outcomes[need].source.run_id for need in phase.needs},
                    asked_as=invocation,
                )
                settings = replace(execution, parent_run_id=parent, accepted_losses=accepted)
                outcomes[phase.name] = carry_out(request, settings)
                done[phase.name] = outcomes[phase.name].run_id
                accepted |= outcomes[phase.name].accepted_losses
                _check_usable(phase, outcomes[phase.name], phases[number:], pipeline, invocation)
        except BaseException as error:
            reason = str(error) or "interrupted from the keyboard"
            records.fail(parent, reason, status="FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        finally:
            if outcomes:
                rows = [
                    (project.phases[key], outcome, phase_run(client.get_run(outcome.run_id)))
                    for key, outcome in outcomes.items()
                ]
                print(outcome_table(rows, time.monotonic() - began), flush=True)
        records.end_pipeline(parent, done.values())
    return parent


def _check_usable(
    phase: Phase, outcome: Outcome, later: Sequence[Phase], pipeline: Pipeline, invocation: Invocation
) -> None:
    """Raises NeedsAnswer before anything is built on a result that was just computed and is not good enough for it."""
    computed = outcome.run_id == outcome.source.run_id
    grade = phase.grade(outcome.source.metrics)
    needing = [other for other in later if phase.name in other.needs]
    if not computed or grade in ("good", "between") or not needing:
        return
    reasons = "; ".join(middling(phase, outcome.source)) or quality_cell(phase, outcome.source)
    handed = handed_down(pipeline, needing[0], invocation.parameters)
    given = without_defaults(handed, needing[0].parameters) | {f"{phase.name}_run_id": outcome.source.run_id}
    raise NeedsAnswer(
        f"{phase.name} was computed, and nothing was built on it: {reasons}. Mend it, or go on with it all the same: "
        f"{invocation.command(needing[0].name, **given)}"
    )


def main() -> int:
    """The command of a pipeline entry point under MLflow's own local backend: `python -m mlflow_plugin.pipeline`."""
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
    try:
        if not run_id:
            raise UsageError("this is the command of a pipeline entry point: start it with `mlflow run . -e main`.")
        absolute_tracking_uri()
        client = MlflowClient()
        run = client.get_run(run_id)
        project = load_project(Path.cwd())
        name = run.data.tags.get("mlflow.project.entryPoint", "")
        if name not in project.pipelines:
            raise UsageError(
                f"{project.file}: entry point {name!r} has no `pipeline:` key. Add `pipeline: [PHASE, ...]`."
            )
        given = {key: logged_value(value, sys.argv) for key, value in run.data.params.items()}
        typed = without_defaults(given, project.pipelines[name].parameters)
        invocation = Invocation(
            project.directory,
            name,
            typed,
            experiment_id=run.info.experiment_id,
            env_manager=env_manager_of(run.data.tags),
            typed_elsewhere=True,
        )
        # The environment for the pipeline was chosen when this process was started; its phases share it.
        execution = Execution({"ENV_MANAGER": "local"}, backend_name="local")
        with orderly_termination():
            run_pipeline(project, name, given, client, run.info.experiment_id, execution, invocation, run_id)
    except KeyboardInterrupt:
        print("mlflow-phases: interrupted; what was done by then is kept", file=sys.stderr, flush=True)
        return 1
    except PhaseError as error:
        print(f"mlflow-phases: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except MlflowException as error:
        print(f"mlflow-phases: {store_trouble(error)}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
