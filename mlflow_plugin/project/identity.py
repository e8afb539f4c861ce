"""What makes two runs of a phase the same: project, phase, result-changing parameters, code and the bytes of each
input.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.code import code_digest
from mlflow_plugin.project.command import command_usage
from mlflow_plugin.project.digests import path_digest, value_digest
from mlflow_plugin.project.parameters import Parameter, Value, canonical, local_path
from mlflow_plugin.project.project import Phase, Project

_LONG = 200


@dataclass(frozen=True)
class Recipe:
    """How a phase is computed, apart from its inputs: what it does to what parameters with which code.

    `parameters` maps a name to (canonical value or content digest, how the command uses it).
    `defaults` maps a name to the canonical declared default, None where there is none. `ignored` are names that do not
    count. `elsewhere` maps a name in `files` to its path, where that is not the name below the project's folder.
    """

    project: str
    phase: str
    command: str
    code: str
    files: Mapping[str, str]
    parameters: Mapping[str, tuple[str, str]]
    defaults: Mapping[str, str | None]
    ignored: frozenset[str] = frozenset()
    elsewhere: Mapping[str, Path] = field(default_factory=dict)

    def digest(self, *, sparse: bool = False) -> str:
        """sha256 hex. The sparse one leaves out parameters at their default, so that a new parameter orphans no old
        run.
        """
        counted = {
            name: entry for name, entry in self.parameters.items() if not sparse or entry[0] != self.defaults[name]
        }
        return value_digest([self.project, self.phase, self.command, self.code, counted])


@dataclass(frozen=True)
class Identity:
    """A recipe together with the output digest of each upstream run that it is applied to."""

    recipe: Recipe
    inputs: Mapping[str, str]

    def digests(self) -> tuple[str, str]:
        """The sparse and the full digest, in the order in which they are looked up."""
        inputs = dict(sorted(self.inputs.items()))
        return (
            value_digest([self.recipe.digest(sparse=True), inputs]),
            value_digest([self.recipe.digest(), inputs]),
        )

    def config_digests(self) -> tuple[str, str]:
        """The same without the inputs: same parameters and code."""
        return self.recipe.digest(sparse=True), self.recipe.digest()

    def fingerprint(self) -> str:
        """All of it as JSON of less than 8,000 characters (a tag's length), for comparing and for explaining."""
        recipe = self.recipe
        content: dict[str, Any] = {
            "project": recipe.project,
            "phase": recipe.phase,
            "command": _clipped(recipe.command),
            "code": recipe.code,
            "parameters": {name: [_clipped(value), _clipped(use)] for name, (value, use) in recipe.parameters.items()},
            "inputs": dict(self.inputs),
            "files": dict(recipe.files),
        }
        for optional in ("files", "parameters"):
            text = json.dumps(content, sort_keys=True, separators=(",", ":"))
            if len(text) < 8000:
                return text
            if optional == "parameters":
                content["parameters"] = {"*": [value_digest(content["parameters"]), ""]}
            else:
                del content["files"]
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def differences(self, fingerprint: Mapping[str, Any], *, inputs: bool = True) -> list[str]:
        """What differs from an earlier run's fingerprint, in words; empty when the two are the same.

        A parameter that the earlier run lacks counts as its declared default.
        """
        recipe, found = self.recipe, []
        old = fingerprint.get("parameters", {})
        if "*" in old:
            ours = {name: [_clipped(value), _clipped(use)] for name, (value, use) in recipe.parameters.items()}
            if value_digest(ours) != old["*"][0]:
                found.append("parameters")
        else:
            found += self._parameter_differences(old)
        if fingerprint.get("command") != _clipped(recipe.command):
            found.append("the command")
        if fingerprint.get("code") != recipe.code:
            files = fingerprint.get("files", {})
            changed = sorted(
                name for name in {*files, *recipe.files} if files and files.get(name) != recipe.files.get(name)
            )
            found.append(f"the code of {', '.join(changed[:5])}" if changed else "the code")
        if inputs:
            before = fingerprint.get("inputs", {})
            found += [f"the output of {need}" for need, digest in self.inputs.items() if before.get(need) != digest]
            found += [f"{need}, which is no longer needed" for need in before if need not in self.inputs]
        return found

    def _parameter_differences(self, old: Mapping[str, Sequence[str]]) -> list[str]:
        found = []
        for name, (value, use) in self.recipe.parameters.items():
            before, used = old.get(name, (self.recipe.defaults[name], use))
            if before != _clipped(value):
                found.append(f"{name} ({_readable(before)} -> {_readable(_clipped(value))})")
            elif used != _clipped(use):
                found.append(f"how the command uses {name}")
        gone = set(old) - set(self.recipe.parameters) - self.recipe.ignored
        found += [f"{name}, which is no longer a parameter" for name in sorted(gone)]
        return found


def _clipped(text: str) -> str:
    return text if len(text) <= _LONG else f"sha256:{value_digest(text)}"


def _readable(value: str | None) -> str:
    if value is None:
        return "not given"
    return value[1:] if value[:1] in "#'=" else value[:19]


def _canonical_parameter(parameter: Parameter, value: Value, base: Path, argv: Sequence[str]) -> str:
    if parameter.type == "path" and isinstance(value, str):
        found = local_path(value, base, argv)
        if found is not None:
            return f"sha256:{path_digest(found)}"
    return canonical(value)


def recipe_of(
    project: Project, phase: Phase, values: Mapping[str, Value], base: Path | None = None, argv: Sequence[str] = ()
) -> Recipe:
    """The recipe of a phase with these values; `base` is the folder that relative path parameters start from;
    those of a default start from the project's.
    """
    folder = base or Path.cwd()
    code = code_digest(project.directory, phase.command, None if phase.code is None else list(phase.code))
    literal, usage = command_usage(phase.command, phase.parameters)
    parameters, defaults = {}, {}
    for parameter in phase.result_parameters:
        value = values[parameter.name]
        own = project.directory if value == parameter.default else folder
        canonical_value = _canonical_parameter(parameter, value, own, argv)
        parameters[parameter.name] = (canonical_value, usage.get(parameter.name, ""))
        defaults[parameter.name] = _default(parameter, project.directory, argv)
    ignored = phase.ignore | phase.steering_parameters
    return Recipe(
        project.name, phase.name, literal, code.digest, code.files, parameters, defaults, ignored, code.elsewhere
    )


def _default(parameter: Parameter, base: Path, argv: Sequence[str]) -> str | None:
    if parameter.default is None:
        return None
    try:
        return _canonical_parameter(parameter, parameter.value(), base, argv)
    except UsageError:
        return None
