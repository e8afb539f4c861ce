"""Collect what is known of the files that earlier phases left in the project."""

from collections.abc import Mapping
from contextvars import ContextVar

from mlflow_plugin.checkout.lock import is_being_written
from mlflow_plugin.checkout.putting_back import Checkout, checkouts
from mlflow_plugin.decision.facts import Handover
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.outputs import OutputFiles
from mlflow_plugin.store.run import PhaseRun

__all__ = ["doubts_of_steps", "handover", "step_doubt"]

doubts_of_steps: ContextVar[tuple[str, ...]] = ContextVar("doubts_of_steps", default=())
"""What `step_doubt` says of the steps that the same process has started before."""


def handover(history: History, project: Project, inputs: Mapping[str, PhaseRun]) -> Handover:
    """Return the inputs that left nothing in the store, and the files by hand that are in the way of the others'.

    Raises:
        PhaseError: A manifest or a file of the project cannot be read.
    """
    each = [(need, run) for need, of_need in inputs.items() for run in of_need.each]
    unknown = [*doubts_of_steps.get()]
    unknown += [said for need, run in each if (said := _unknown(project.phases[need], run))]
    by_hand = []
    for checkout in checkouts(history, project, inputs):
        if not checkout.files:
            unknown.append(
                f"{checkout.run.phase} {checkout.run.short} left no files for its `outputs:`; it was computed before "
                "they were declared"
            )
        elif checkout.by_hand and not _is_being_written(project, checkout):
            some = ", ".join(checkout.by_hand[:3]) + (" and others" if len(checkout.by_hand) > 3 else "")
            by_hand.append(
                f"{some} was made or edited by hand, in the place of files of {checkout.run.phase} {checkout.run.short}"
            )
    return Handover(tuple(unknown), tuple(by_hand))


def _is_being_written(project: Project, checkout: Checkout) -> bool:
    """Return whether the files of a phase are those of a run that has not ended: the handover waits for it."""
    return is_being_written(project.directory_of(checkout.phase), checkout.phase.own_full_name)


def step_doubt(history: History, phase: Phase, run: PhaseRun) -> str:
    """Say that a step is reused whose files in the project another run has written since; empty when none has.

    The steps of a script are no needs of each other: nothing but the order of the calls tells that one reads what
    another left.
    """
    unknown = any(_unknown(phase, one) for one in run.each)
    newest = history.computed(phase.name, 1) if unknown else []
    if not newest or newest[0].run_id in {one.run_id for one in run.each}:
        return ""
    return (
        f"the step {run.phase} {run.short} is reused, logged nothing and declares no `outputs:`, and {newest[0].short} "
        "was computed since: later steps read whatever lies in the project"
    )


def _unknown(phase: Phase, run: PhaseRun) -> str:
    """Say that an input left nothing that could be compared; empty when it did, or declares that it leaves nothing."""
    if phase.outputs is not None or not run.outputs:
        return ""
    left = OutputFiles.of(run)
    if left.sizes != {} or left.models:
        return ""
    return (
        f"{run.phase} {run.short} logged nothing and declares no `outputs:`, so later phases read whatever lies in the "
        "project"
    )
