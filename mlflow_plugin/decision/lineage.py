"""What was made from a run, and what a run was made from, as far as a verdict needs it. Reads, never writes."""

from collections.abc import Mapping, Sequence

from mlflow_plugin.decision.facts import Generations, superseded_run
from mlflow_plugin.decision.verdict import SupersededRun
from mlflow_plugin.format import clock, short
from mlflow_plugin.project.project import Project
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


def good_downstream(history: History, run: PhaseRun, at_most: int = 100) -> list[SupersededRun]:
    """Return the complete, good runs that were made from a run, directly or not, newest first.

    Left out are runs with a quarantine reason, and those that a later run of their own phase has superseded: nobody
    would compute them again. `at_most` is that of `History.downstream`.
    """
    good = []
    later_runs = history.downstream(run, at_most)
    history.runs(later.invalidated_by for later in later_runs)
    for later in later_runs:
        # A phase of another file may have the same name in its own.
        phase = history.project.phases.get(later.phase) if history.is_own(later) else None
        if phase is None or not later.complete or phase.grade(later.metrics) != "good":
            continue
        if not history.quarantine_reason(later) and not _was_superseded(history, later):
            good.append(superseded_run(phase, later))
    return good


def _was_superseded(history: History, run: PhaseRun) -> bool:
    """Return whether a later run of the same phase counts instead. The mark is removed when the run is used again."""
    later = history.run(run.invalidated_by)
    return bool(later and later.complete and later.phase == run.phase and not history.quarantine_reason(later))


def mixed_generations(history: History, project: Project, inputs: Mapping[str, PhaseRun]) -> Generations:
    """Return how the inputs of a phase were made from different results of one earlier phase; empty when they were not.

    The same bytes are the same result, whichever run made them.
    """
    if len(inputs) < 2:
        return Generations()
    made_from = {need: _ancestors(history, run) for need, run in inputs.items()}
    shared: dict[str, dict[str, PhaseRun]] = {}
    for need, ancestors in made_from.items():
        for ancestor in ancestors:
            if ancestor.output_digest:
                shared.setdefault(ancestor.phase, {}).setdefault(need, ancestor)
    sentences, outdated = [], set()
    for name in (phase.name for phase in project.order(project.phases)):
        by_need = shared.get(name, {})
        if len({run.output_digest for run in by_need.values()}) < 2:
            continue
        sentences.append(_sentence(name, by_need, inputs))
        newest = history.latest(project.phases[name])
        digest = newest.output_digest if newest else max(by_need.values(), key=lambda run: run.when).output_digest
        outdated |= {need for need, run in by_need.items() if run.output_digest != digest}
    # Where the phase itself differs, those that were made from it differ for that reason alone.
    return Generations(tuple(sentences[:3]), tuple(need for need in inputs if need in outdated))


def _ancestors(history: History, run: PhaseRun) -> Sequence[PhaseRun]:
    """Return a run and everything it was made from, nearest first."""
    found: dict[str, PhaseRun] = {run.run_id: run}
    pending = [run]
    while pending:
        ids = {used for one in pending for used in (*one.inputs.values(), *one.members)} - set(found)
        pending = list(history.runs(ids).values())
        found |= {one.run_id: one for one in pending}
    return list(found.values())


def _sentence(name: str, by_need: Mapping[str, PhaseRun], inputs: Mapping[str, PhaseRun]) -> str:
    parts = []
    for need, ancestor in by_need.items():
        used = f"{name} {short(ancestor.run_id)} of {clock(ancestor.when)}"
        itself = inputs[need].run_id == ancestor.run_id
        parts.append(f"{used} is an input" if itself else f"{need} {inputs[need].short} was made from {used}")
    return ", ".join(parts)
