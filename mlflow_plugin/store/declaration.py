"""A project's declaration in tags of its experiment, for readers without the MLproject file, such as a server."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.mlproject import project_of
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.project import Origin, Phase, Pipeline, Project
from mlflow_plugin.store import schema
from mlflow_plugin.store.untrusted import mapping

_TAG_LENGTH = 4900
"""The length of an experiment's tag that fits every store: databases hold 5,000 characters."""
_MATRIX_LENGTH, _VALUES = 1000, 3


def declaration(project: Project) -> dict[str, str]:
    """Return the tags that hold a project's phases and pipelines: one for each, and one that lists them."""
    entries = {phase.name: _phase_entry(phase) for phase in project.order(project.phases)}
    entries |= {pipeline.name: _pipeline_entry(pipeline) for pipeline in project.pipelines.values()}
    tags = {_entry_tag(project.name, name): _fitting(entry) for name, entry in entries.items()}
    tags[_project_tag(project.name)] = _dumps({"project": project.name, "entry_points": list(entries)})
    return tags


def declared_projects(tags: Mapping[str, str]) -> dict[str, Project]:
    """Return the projects that an experiment's tags declare, by name. They have no folder; unreadable ones are left
    out. A project whose phases another one needs comes after those that show the whole graph.
    """
    projects = {}
    for key in sorted(tags):
        content = mapping(tags[key]) if key.startswith(schema.DECLARED_PROJECT) else None
        name, listed = (content or {}).get("project"), (content or {}).get("entry_points")
        if not isinstance(name, str) or not isinstance(listed, list):
            continue
        entries = {entry: mapping(tags.get(_entry_tag(name, entry))) for entry in listed if isinstance(entry, str)}
        try:
            project = project_of({"name": name, "entry_points": entries}, Path("MLproject"))
            projects[name] = _with_origins(project, entries)
        except (UsageError, TypeError, AttributeError, ValueError):
            continue
    phases = [phase for project in projects.values() for phase in project.phases.values()]
    needed = {phase.origin.project.name for phase in phases if phase.origin}
    return dict(sorted(projects.items(), key=lambda one: one[0] in needed))


def declared_with(tags: Mapping[str, str], project: str, phase: str) -> Project | None:
    """Return the declared project that shows a phase in its whole graph; None where none has it.

    Args:
        tags: The experiment's tags.
        project: The name of the project by which the phase's runs are recorded.
        phase: The name of the phase there.
    """
    for declared in declared_projects(tags).values():
        if (declared.name == project and phase in declared.phases) or (project, phase) in declared.called_here:
            return declared
    return None


def _project_tag(project: str) -> str:
    return schema.DECLARED_PROJECT + schema.phase_key(project, "")


def _entry_tag(project: str, entry_point: str) -> str:
    return schema.DECLARED_ENTRY_POINT + schema.phase_key(project, entry_point)


def _phase_entry(phase: Phase) -> dict[str, Any]:
    quality = phase.quality
    age = phase.max_age_seconds
    keys = {
        "needs": list(phase.needs),
        "ignore": sorted(phase.ignore),
        "quality": quality
        and {
            "metric": quality.metric,
            "good": quality.good,
            "poor": quality.poor,
            "higher_is_better": quality.higher_is_better,
        },
        "gates": [gate.text for gate in phase.gates],
        "max_age": None if age is None else f"{age / 60:f}m",
        "timeout_minutes": phase.timeout_minutes,
        "size": list(phase.size),
        "inputs": {name: f"{one.need}/{one.path}" for name, one in phase.inputs.items()} or None,
        **_matrix(phase),
    }
    # Which files its code is, and what of it stays, matters only to those who have the folder.
    declared = {key: value for key, value in keys.items() if value not in (None, [])}
    entry: dict[str, Any] = {"command": phase.command, "parameters": _parameters(phase.parameters), "phase": declared}
    if phase.origin:
        entry["origin"] = [phase.origin.project.name, phase.origin.phase, dict(phase.origin.needs)]
    return entry


def _with_origins(project: Project, entries: Mapping[str, Mapping[str, Any]]) -> Project:
    """Return a project with the names that phases of other files have there. Raises ValueError and TypeError."""
    phases = dict(project.phases)
    for name, entry in entries.items():
        if name in phases and "origin" in entry:
            owner, own, needs = entry["origin"]
            there = {str(key): str(value) for key, value in dict(needs).items()}
            nowhere = Project(str(owner), Path(), Path("MLproject"), {str(own): replace(phases[name], name=str(own))})
            phases[name] = replace(phases[name], origin=Origin(nowhere, str(own), there))
    return replace(project, phases=phases)


def _matrix(phase: Phase) -> dict[str, Any]:
    """Return the keys of a matrix. Of long lists, as many values as a reader needs to know that it is one."""
    matrix = phase.matrix
    if matrix is None:
        return {}
    if sum(len(text) for values in matrix.values.values() for text in values) > _MATRIX_LENGTH:
        return {"matrix": {name: list(values[:_VALUES]) for name, values in matrix.values.items()}}
    keys = {name: list(values) for name, values in matrix.values.items()}
    return {"matrix": keys, "exclude": [dict(entry) for entry in matrix.exclude], "at_least": matrix.at_least}


def _pipeline_entry(pipeline: Pipeline) -> dict[str, Any]:
    return {"command": pipeline.command, "pipeline": list(pipeline.targets)}


def _parameters(declared: Mapping[str, Parameter]) -> dict[str, Any]:
    return {name: {"type": one.type, "default": one.default} for name, one in declared.items()}


def _fitting(entry: dict[str, Any]) -> str:
    """Return an entry point as JSON that fits into a tag, without long texts and parameters where necessary."""
    text = _dumps(entry)
    if len(text) <= _TAG_LENGTH:
        return text
    of_matrix = entry.get("phase", {}).get("matrix", {})
    needed = {name: one for name, one in entry["parameters"].items() if name in of_matrix} if of_matrix else {}
    short = {**entry, "command": "...", "parameters": needed}
    if "phase" in entry:
        long = {"ignore", "size", "inputs"}
        short["phase"] = {key: value for key, value in entry["phase"].items() if key not in long}
    return _dumps(short)


def _dumps(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), sort_keys=True)
