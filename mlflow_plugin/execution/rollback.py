"""Go back to an earlier run of a phase: which runs are quarantined, what depends on them, and what is used instead."""

from collections.abc import Iterator, Sequence

from mlflow.tracking import MlflowClient

from mlflow_plugin.decision.quality import quality_text
from mlflow_plugin.errors import UsageError
from mlflow_plugin.format import clock, short
from mlflow_plugin.project.project import Phase
from mlflow_plugin.store.declaration import declared_with
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import is_of_member, one_like, usable_sets

_SHOWN, _AT_MOST = 10, 100


def history_beside(client: MlflowClient, run: PhaseRun) -> History | None:
    """Return the runs of the project that knows a run's phase, in its experiment; None where none is declared there."""
    project = declared_with(client.get_experiment(run.experiment_id).tags, run.project, run.own_phase)
    return History(client, run.experiment_id, project) if project else None


def consequences(client: MlflowClient, runs: Sequence[PhaseRun], history: History | None = None) -> Iterator[str]:
    """Yield the consequences of a quarantine, one sentence each: runs made from it, and the run used instead.

    Nothing for an experiment of the earliest versions, which does not declare what its phases call good.

    Args:
        client: The tracking store.
        runs: The quarantined runs, all of one phase.
        history: The runs of the project that asks; None to find one that the experiment declares.
    """
    history = History(client, history.experiment_id, history.project) if history else history_beside(client, runs[0])
    of_phase = history.run(runs[0].run_id) if history else None
    phase = history.project.phases.get(of_phase.phase) if history and of_phase else None
    if history is None or phase is None:
        return
    marked = {run.run_id for run in runs}
    later = {one.run_id: one for run in runs for one in history.made_from(run, _AT_MOST) if one.run_id not in marked}
    fallen = [one for one in later.values() if one.complete and not one.reused_run_id]
    for one in sorted(fallen, key=lambda one: one.when, reverse=True)[:_SHOWN]:
        yield f"{one.phase} {one.short} of {clock(one.when)} depends on it and is not reused either"
    if len(fallen) > _SHOWN:
        yield f"and {len(fallen) - _SHOWN} more" + (" at least" if len(fallen) >= _AT_MOST else "")
    good = history.latest(phase)
    what = f"good set of runs of {phase.name}" if phase.matrix else f"good {phase.name}"
    if good is None:
        yield f"there is no {what} before it: the next start of {phase.name} computes it"
        return
    quality = f" with {quality_text(phase, good)}" if phase.quality else ""
    yield f"the last {what} is {good.short} of {clock(good.when)}{quality}; what needs one is made from it"
    yield f"to keep to it whatever is computed later: -P {phase.name}_run_id={good.run_id}"


def to_be_marked(history: History, phase: Phase, to: PhaseRun | None) -> list[PhaseRun]:
    """Return the runs to quarantine so that an earlier run of a phase is used, newest first.

    Args:
        history: The runs of the project.
        phase: The phase to roll back.
        to: The run to go back to; None for the one before the newest.

    Raises:
        UsageError: `to` cannot be used, or nothing is to be done.
    """
    if phase.matrix is not None and (to is None or to.is_set):
        return _sets_to_be_marked(history, phase, to)
    if to is None:
        latest = history.latest(phase)
        if latest is None:
            raise UsageError(f"{phase.name} has no good run that could be rolled back; see `mlflow-phases status`.")
        return [latest]
    if to.phase != phase.name:
        raise UsageError(f"{short(to.run_id)} is a run of {to.phase}, not of {phase.name}.")
    if not to.complete:
        raise UsageError(f"{phase.name} {to.short} never completed, so nothing can be built on it. Name another run.")
    if why := history.quarantine_reason(to):
        raise UsageError(f"{why}. Lift that first (mlflow-phases quarantine RUN --lift), or name another run.")
    counting = [run for run in history.computed(phase.name) if run.complete and not run.quarantined and not run.beside]
    own = one_like(phase, to)
    later = [run for run in counting if run.when > to.when and is_of_member(own, run)]
    if not later:
        raise UsageError(f"{phase.name} {to.short} is the newest already; nothing is to be rolled back.")
    return later


def _sets_to_be_marked(history: History, phase: Phase, to: PhaseRun | None) -> list[PhaseRun]:
    """Return the sets after one, with those of their runs that it does not have, newest first."""
    usable = usable_sets(history, phase)
    if not usable:
        raise UsageError(f"{phase.name} has no good set of runs that could be rolled back; see `mlflow-phases status`.")
    if to is not None and to.reused_run_id:
        to = history.run(to.reused_run_id) or to
    kept = next((run for run in usable[1:] if to is None or run.run_id == to.run_id), None)
    if to is not None and kept is None:
        raise UsageError(f"{phase.name} {to.short} is no earlier set of runs that could be used; nothing was changed.")
    later = usable[: usable.index(kept)] if kept else usable[:1]
    stay = set(kept.members) if kept else set()
    runs = {run.run_id: run for of_set in later for run in (of_set, *of_set.each) if run.run_id not in stay}
    return sorted(runs.values(), key=lambda run: run.when, reverse=True)
