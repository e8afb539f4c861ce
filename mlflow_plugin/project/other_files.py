"""Needs in other MLproject files: `needs: [../cleaning#main]` makes one graph of the phases of several files."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.project import Origin, Phase, Project

__all__ = ["is_elsewhere", "joined"]

_Name = TypeVar("_Name")
_Key = tuple[Path, str]
"""The MLproject file of a phase, and its name there."""


def is_elsewhere(need: str) -> bool:
    """Return whether a need names a phase of another MLproject file: it has a `/` or a `#`.

    >>> is_elsewhere("prepare"), is_elsewhere("../cleaning"), is_elsewhere("cleaning#main")
    (False, True, True)
    """
    return "/" in need or "#" in need


def joined(project: Project, load: Callable[[Path], Project], fault: Callable[[str, str, str], UsageError]) -> Project:
    """Return a project with the phases of other files that its own phases and pipelines name, under short names.

    Args:
        project: The project, whose needs and targets are as they were written.
        load: Returns the project of a folder; raises UsageError where there is none.
        fault: Makes the error for an entry point, a key, and what is wrong with it.

    Raises:
        UsageError: A file or a phase is missing, or two phases would have one name.
    """
    written = [(phase.name, "phase.needs", phase.needs) for phase in project.phases.values()]
    written += [(pipeline.name, "pipeline", pipeline.targets) for pipeline in project.pipelines.values()]
    there: dict[str, _Key] = {}
    found: dict[_Key, _There] = {}
    for entry_point, key, names in written:
        for name in names:
            if is_elsewhere(name) and name not in there:
                try:
                    there[name] = _find(project, name, load, found)
                except UsageError as error:
                    raise fault(entry_point, key, f"{name!r}: {error}") from None
    if not there:
        return project
    names_here = _names(project, found)
    texts = {text: names_here[key] for text, key in there.items()}
    phases = {
        name: replace(phase, needs=tuple(dict.fromkeys(texts.get(need, need) for need in phase.needs)))
        for name, phase in project.phases.items()
    }
    phases |= {names_here[key]: _here(one, names_here) for key, one in found.items()}
    pipelines = {
        name: replace(pipeline, targets=tuple(dict.fromkeys(texts.get(one, one) for one in pipeline.targets)))
        for name, pipeline in project.pipelines.items()
    }
    return replace(project, phases=phases, pipelines=pipelines)


@dataclass(frozen=True)
class _There:
    """A phase in its own file, and where its needs are."""

    project: Project
    phase: Phase
    needs: Mapping[str, _Key]


def _find(project: Project, text: str, load: Callable[[Path], Project], found: dict[_Key, _There]) -> _Key:
    """Return where a phase of another file is, and take it and all that it needs into `found`."""
    folder, _, entry_point = text.partition("#")
    other = load(project.directory / folder)
    name = entry_point or "main"
    if name not in other.phases:
        phases = ", ".join(other.phases) or "none"
        raise UsageError(f"{other.file} has no phase {name!r}; its phases: {phases}")
    for phase in other.order([name]):
        owner, own = other.native(phase.name)
        key = (owner.file, own.name)
        if key not in found:
            found[key] = _There(owner, own, {need: _key(owner, need) for need in own.needs})
    return _key(other, name)


def _key(project: Project, name: str) -> _Key:
    owner, own = project.native(name)
    return owner.file, own.name


def _names(project: Project, found: Mapping[_Key, _There]) -> dict[_Key, str]:
    """Return a short name for each phase of another file: its own, or its folder's where that says too little.

    Raises:
        UsageError: Two would have the same name, here or in the store.
    """
    taken = {*project.phases, *project.pipelines, *project.other_entry_points}
    own = [name for _, name in found]
    names = {
        (file, name): file.parent.name if name == "main" or name in taken or own.count(name) > 1 else name
        for file, name in found
    }
    by_name = _grouped((name, f"{file}#{entry_point}") for (file, entry_point), name in names.items())
    for name, places in by_name.items():
        if name in taken:
            places.append(f"{project.file}#{name}")
        if len(places) > 1:
            raise UsageError(
                f"{project.file}: {' and '.join(places)} would both be called {name!r} here. Rename one of the entry "
                "points, or its folder."
            )
    mine = [((project.name, name), f"{project.file}#{name}") for name in project.phases]
    others = [((one.project.name, one.phase.name), f"{one.project.file}#{one.phase.name}") for one in found.values()]
    for (owner, name), places in _grouped([*mine, *others]).items():
        if len(places) > 1:
            raise UsageError(
                f"{' and '.join(places)} are both the phase {name!r} of a project {owner!r}, so their runs could not "
                "be told apart. Give one of the files another `name:`."
            )
    return names


def _grouped(pairs: Iterable[tuple[_Name, str]]) -> dict[_Name, list[str]]:
    groups: dict[_Name, list[str]] = {}
    for name, place in pairs:
        groups.setdefault(name, []).append(place)
    return groups


def _here(one: _There, names: Mapping[_Key, str]) -> Phase:
    """Return a phase of another file under its name here."""
    needs = {need: names[key] for need, key in one.needs.items()}
    return replace(
        one.phase,
        name=names[one.project.file, one.phase.name],
        needs=tuple(needs.values()),
        inputs={name: replace(artifact, need=needs[artifact.need]) for name, artifact in one.phase.inputs.items()},
        origin=Origin(one.project, one.phase.name, needs),
    )
