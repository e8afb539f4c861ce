"""The inputs of a phase that is about to compute: all of them there, and with the bytes that its identity names."""

from collections.abc import Sequence
from dataclasses import replace

from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.errors import PhaseError, UsageError
from mlflow_plugin.project.parameters import TRUNCATED_AT, unquoted, without_defaults
from mlflow_plugin.store.artifacts import absent_root
from mlflow_plugin.store.input_artifacts import check_artifacts
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.verification import output_faults


def check_inputs(decision: Decision) -> None:
    """Raise before anything is computed on inputs that are missing, damaged or replaced.

    Raises:
        UsageError: An upstream phase has no usable run, or its run lacks an artifact that a parameter stands for.
        PhaseError: An upstream run's files are not those that it has made. The message has the command that makes them
            again. Or the price that was given is none, which would be found out when the work is done.
    """
    request = decision.request
    request.price()
    if absent := [need for need in request.phase.needs if need not in decision.inputs]:
        raise _required(request, absent)
    check_artifacts(request.phase, decision.inputs)
    for need, used in [(need, run) for need, of_need in decision.inputs.items() for run in of_need.each]:
        if faults := output_faults(request.client, used):
            if root := absent_root(used):
                raise PhaseError(
                    f"{used.phase} {used.short}: its files cannot be looked for: {root} is missing or empty here. "
                    "Mount it or move it back; nothing was computed."
                )
            more = f" ({len(faults) - 1} more)" if len(faults) > 1 else ""
            of_set = decision.inputs[need].members
            then = f", and then `{request.invocation.command(need)}` makes a new set with it" if of_set else ""
            raise PhaseError(
                f"{used.phase} {used.short} lost its outputs: {faults[0]}{more}. Nothing was computed on them. "
                f"`{repair_command(request, need, used)}` makes them again{then}; or choose another run with "
                f"-P {need}_run_id=RUN."
            )


def repair_command(request: Request, need: str, run: PhaseRun) -> str:
    """Return the command that computes an upstream run again, with the parameters that it had."""
    phase, invocation = request.project.phases[need], request.invocation
    declared = phase.parameters
    values = {name: unquoted(text) for name, text in run.parameters.items() if len(text) < TRUNCATED_AT}
    used = {name: value for name, value in values.items() if name in declared and name not in phase.steering_parameters}
    # MLflow's own backend would hand a parameter that is not declared to the script.
    backend = invocation.backend or ("" if "decide" in declared else "phases")
    of_matrix = {name: used[name] for name in (phase.matrix.values if phase.matrix else ()) if name in used}
    given = {**of_matrix, **without_defaults(used, declared), "decide": "rerun"}
    return replace(request, asked_as=replace(invocation, backend=backend)).command_for(need, **given)


def _required(request: Request, missing_inputs: Sequence[str]) -> UsageError:
    """Return the error for a phase that is to be computed while an upstream phase has no usable run."""
    need = missing_inputs[0]
    elsewhere = request.graph or request.project.phases[need].origin
    command = request.command_for(need) if elsewhere else f"mlflow run . -e {need}"
    return UsageError(
        f"{request.phase.name} needs {need}, which has no run in this experiment that is complete, good enough and not "
        f"quarantined. Run `{command}` first, or choose a run with -P {need}_run_id=RUN."
    )
