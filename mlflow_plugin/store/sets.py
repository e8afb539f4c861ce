"""Lookups of the sets of runs that phases with a matrix leave. Reads, never writes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.digests import value_digest
from mlflow_plugin.project.matrix import label
from mlflow_plugin.project.members import member_with
from mlflow_plugin.project.parameters import Parameter, unquoted
from mlflow_plugin.project.project import Phase, Project
from mlflow_plugin.store import schema
from mlflow_plugin.store.run import PhaseRun

__all__ = [
    "as_input",
    "is_of_member",
    "label_of",
    "latest_of_set",
    "latest_set",
    "one_like",
    "phases_of",
    "pointed_runs",
    "same_set",
    "set_digest",
    "sets_of",
    "usable_sets",
    "values_of",
    "with_members",
]

_SEARCHED = 20


class Lookups(Protocol):
    """The part of `History` that is needed here."""

    project: Project

    def run(self, run_id: str) -> PhaseRun | None: ...
    def runs(self, run_ids: Iterable[str]) -> dict[str, PhaseRun]: ...
    def search(self, filter_string: str, max_results: int = ...) -> list[PhaseRun]: ...
    def pointer(self, phase: str) -> dict[str, Any]: ...
    def pointed_at(self, phase: str) -> PhaseRun | None: ...
    def quarantine_reason(self, run: PhaseRun) -> str: ...


def latest_set(history: Lookups, phase: Phase) -> PhaseRun | None:
    """Return the newest complete set of a phase's runs of which none is quarantined or gone, with its runs."""
    if (run := history.pointed_at(phase.name)) and (found := _usable(history, run)):
        return found
    return next(iter(usable_sets(history, phase)), None)


def usable_sets(history: Lookups, phase: Phase) -> list[PhaseRun]:
    """Return the newest sets of a phase's runs that later phases may be made from, newest first."""
    return [found for run in _recorded(history, phase) if (found := _usable(history, run))]


def same_set(history: Lookups, phase: Phase, run_ids: Sequence[str]) -> PhaseRun | None:
    """Return the newest usable set of exactly these runs in this order, None when they were never recorded as one."""
    latest = latest_set(history, phase)
    if latest is not None and list(latest.members) == list(run_ids):
        return latest
    found = [run for run in _recorded(history, phase) if list(run.members) == list(run_ids)]
    return next((usable for run in found if (usable := _usable(history, run))), None)


def _recorded(history: Lookups, phase: Phase) -> list[PhaseRun]:
    """Return the newest sets of a phase that were recorded as such; reuses of them do not count."""
    key = schema.phase_key(*history.project.stored_as(phase.name))
    return [run for run in history.search(f"tags.`{schema.SETS_INDEX}{key}` = '1'", _SEARCHED) if run.members]


def _usable(history: Lookups, run: PhaseRun) -> PhaseRun | None:
    if not run.complete or run.beside or history.quarantine_reason(run):
        return None
    found = with_members(history, run)
    return found if found.member_runs else None


def with_members(history: Lookups, run: PhaseRun) -> PhaseRun:
    """Return a set with its runs, without any when one of them was deleted. Every other run is returned as it is."""
    if not run.members:
        return run
    known = history.runs(run.members)
    every = tuple(known[run_id] for run_id in run.members if run_id in known)
    return replace(run, member_runs=every if len(every) == len(run.members) else ())


def as_input(history: Lookups, phase: Phase, run: PhaseRun) -> PhaseRun:
    """Return a run that a caller chose as an input, with the runs of a set.

    Raises:
        UsageError: It is a set although the phase has no matrix, or the other way round, or a run of it was deleted.
    """
    if phase.matrix is None and not run.members:
        return run
    chosen = f"{phase.name}_run_id={run.run_id}"
    if phase.matrix is None:
        raise UsageError(
            f"{chosen}: that is a set of {len(run.members)} runs of {phase.name}, which has no matrix now."
        )
    if not run.members:
        raise UsageError(
            f"{chosen}: that is one run of {phase.name}, which has a matrix. Choose a set of its runs: the run above "
            "them in the MLflow UI."
        )
    found = with_members(history, run)
    if not found.member_runs:
        raise UsageError(f"{chosen}: a run of this set was deleted. Choose another, or run {phase.name} again.")
    return found


def sets_of(history: Lookups, run: PhaseRun) -> list[PhaseRun]:
    """Return the newest sets with a run that left the same output."""
    key = schema.output_key(*history.project.stored_as(run.phase), run.output_digest)
    found = history.search(f"tags.`{schema.INPUT_BYTES_INDEX}{key}` = '1'", _SEARCHED)
    return [one for one in found if one.members and one.phase == run.phase]


def is_of_member(phase: Phase, run: PhaseRun) -> bool:
    """Return whether a run has the values of one run of a matrix; True for a phase without such values."""
    return not phase.member or values_of(phase, run) == values_of(phase, None)


def values_of(phase: Phase, run: PhaseRun | None) -> tuple[str, ...]:
    """Return the values of a run for the parameters of a matrix, in a form to compare; empty without a matrix.

    Args:
        phase: The phase with its matrix, or one run of it.
        run: The run; None for the values of the phase itself, which is then one run of a matrix.
    """
    values = []
    for name in phase.member or (phase.matrix.values if phase.matrix else ()):
        parameter = phase.parameters[name]
        logged = phase.member[name] if run is None else run.parameters.get(name)
        try:
            values.append(parameter.canonical(None if logged is None else unquoted(logged)))
        except UsageError:  # A default that the declaration lacks, or a text that is no such value.
            values.append("")
    return tuple(values)


def pointed_runs(history: Lookups, phase: str) -> list[PhaseRun]:
    """Return the complete runs of the set that the experiment's pointer names; one run without a set.

    None where a run was computed again by itself since then: which is the newest has to be searched.
    """
    pointed = history.run(str(history.pointer(phase).get("run_id", "")))
    if pointed is None or not pointed.complete or (pointed.is_set and pointed.invalidated_by):
        return []
    if pointed.phase != phase or history.project.stored_as(phase) != (pointed.project, pointed.own_phase):
        return []
    return [run for run in with_members(history, pointed).each if run.complete and not run.beside]


def latest_of_set(history: Lookups, phase: Phase) -> PhaseRun | None:
    """Return the run of the newest set with the values of one run of a matrix, if it can be built on."""
    run = next((run for run in pointed_runs(history, phase.name) if is_of_member(phase, run)), None)
    usable = (
        run is not None and not history.quarantine_reason(run) and phase.grade(run.metrics) in ("good", "borderline")
    )
    return run if usable else None


def label_of(phase: Phase, run: PhaseRun) -> str:
    """Return the values that tell a run of a matrix from the others, such as `seed=0`."""
    names = phase.matrix.values if phase.matrix else phase.member
    return label({name: unquoted(run.parameters.get(name, "?")) for name in names})


def one_like(phase: Phase, run: PhaseRun) -> Phase:
    """Return a phase with the values of a run, to look up runs like it; without its outputs."""
    if phase.matrix is None:
        return phase
    values = {name: _text(phase.parameters[name], run.parameters) for name in phase.matrix.values}
    return replace(phase, matrix=None, member=values, outputs=None)


def phases_of(phase: Phase, run: PhaseRun) -> list[tuple[Phase, PhaseRun]]:
    """Return the runs of a set, or one run, each with the phase as it was for its values."""
    if phase.matrix is None:
        return [(phase, run)]
    declared = {name: phase.parameters[name] for name in phase.matrix.values}
    return [
        (member_with(phase, {name: _text(one, run.parameters) for name, one in declared.items()}).phase, run)
        for run in run.each
    ]


def _text(parameter: Parameter, logged: Mapping[str, str]) -> str:
    return unquoted(logged[parameter.name]) if parameter.name in logged else str(parameter.default)


def set_digest(phase: Phase, members: "Sequence[tuple[Mapping[str, str], PhaseRun]]") -> str:
    """Return the digest of a set: that of the values and the outputs of its runs, in the order of the matrix."""
    return value_digest(
        [
            [[name, phase.parameters[name].canonical(value)] for name, value in values.items()] + [run.output_digest]
            for values, run in members
        ]
    )
