"""Compute the identity of a run: runs with the same identity have the same result.

The identity consists of project, phase, command, the parameters that change the result, code, and the digest of each
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
from mlflow_plugin.project.parameters import Parameter, Value, canonical, local_path, unquoted
from mlflow_plugin.project.project import Phase, Project

_MAX_LENGTH = 200


@dataclass(frozen=True)
class Recipe:
    """The identity of a phase's computation without its inputs.

    Attributes:
        project: The project's name.
        phase: The phase's name.
        command: The command with the parameters' places left open.
        code: The digest of the code.
        files: File -> digest of the code, to explain differences.
        parameters: Name -> (canonical value or digest of the file it names, how the command uses it).
        defaults: Name -> canonical declared default, None without one.
        ignored: Names of parameters that do not count.
        elsewhere: A name in `files` -> its path, where that is not the name below the project's folder.
        declared: Name -> parameter as the MLproject file declares it, to read the logged values of earlier runs.
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
    declared: Mapping[str, Parameter] = field(default_factory=dict)

    def digest(self, *, sparse: bool = False) -> str:
        """Return the sha256 of the recipe, 64 hex digits.

        Args:
            sparse: Leave out parameters at their default, so that old runs still match after a parameter is added.
        """
        counted = {
            name: entry for name, entry in self.parameters.items() if not sparse or entry[0] != self.defaults[name]
        }
        return value_digest([self.project, self.phase, self.command, self.code, counted])


@dataclass(frozen=True)
class Identity:
    """A recipe and the digest of the output of each upstream run (`inputs`: phase -> digest)."""

    recipe: Recipe
    inputs: Mapping[str, str]

    def digests(self) -> tuple[str, str]:
        """Return the sparse and the full digest, in the order in which runs are looked up by them."""
        inputs = dict(sorted(self.inputs.items()))
        return (
            value_digest([self.recipe.digest(sparse=True), inputs]),
            value_digest([self.recipe.digest(), inputs]),
        )

    def config_digests(self) -> tuple[str, str]:
        """Return the sparse and the full digest without the inputs: equal for the same parameters and code."""
        return self.recipe.digest(sparse=True), self.recipe.digest()

    def fingerprint(self) -> str:
        """Return the identity as JSON of less than 8,000 characters (the length of a tag), to explain differences."""
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

    def differences(
        self,
        fingerprint: Mapping[str, Any],
        logged: Mapping[str, str] | None = None,
        *,
        inputs: bool = True,
        code: bool = True,
    ) -> list[str]:
        """Describe how this identity differs from an earlier run's fingerprint.

        Args:
            fingerprint: The decoded `fingerprint()` of the earlier run. A parameter that it lacks counts with the value
                that was logged, else as the declared default.
            logged: The parameters that MLflow logged for that run: they include those that were ignored then.
            inputs: Compare the inputs too.
            code: Compare the code too.

        Returns:
            One text for each difference, empty when the two are the same.
        """
        recipe, differences = self.recipe, []
        old = fingerprint.get("parameters", {})
        if "*" in old:
            ours = {name: [_clipped(value), _clipped(use)] for name, (value, use) in recipe.parameters.items()}
            if value_digest(ours) != old["*"][0]:
                differences.append("parameters")
        else:
            differences += self._parameter_differences(old, logged or {})
        if fingerprint.get("command") != _clipped(recipe.command):
            differences.append("the command")
        if code and fingerprint.get("code") != recipe.code:
            files = fingerprint.get("files", {})
            changed = sorted(
                name for name in {*files, *recipe.files} if files and files.get(name) != recipe.files.get(name)
            )
            differences.append(f"the code of {', '.join(changed[:5])}" if changed else "the code")
        if inputs:
            before = fingerprint.get("inputs", {})
            changed = [need for need, digest in self.inputs.items() if before.get(need) != digest]
            differences += [f"the output of {need}" for need in changed]
            differences += [f"{need}, which is no longer needed" for need in before if need not in self.inputs]
        return differences

    def assumed(self, fingerprint: Mapping[str, Any], logged: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters whose value in an earlier run is not known, each with the value that is assumed."""
        old, recipe = fingerprint.get("parameters", {}), self.recipe
        if "*" in old:
            return {}
        unknown = [name for name in recipe.parameters if name not in old and self._logged(name, logged) is None]
        return {name: logged[name] if name in logged else _readable(recipe.defaults[name]) for name in unknown}

    def other_parameters(self, fingerprint: Mapping[str, Any], logged: Mapping[str, str]) -> set[str]:
        """Return the names of the parameters that had another value in an earlier run; `*` when that is not known."""
        old, recipe = fingerprint.get("parameters", {}), self.recipe
        if "*" in old:
            return (
                {"*"}
                if self.differences(fingerprint, logged, inputs=False, code=False)[:1] == ["parameters"]
                else set()
            )
        removed = set(old) - set(recipe.parameters) - recipe.ignored
        return removed | {
            name
            for name, (value, _) in recipe.parameters.items()
            if self._then(name, old, logged)[0] != _clipped(value)
        }

    def _parameter_differences(self, old: Mapping[str, Sequence[str]], logged: Mapping[str, str]) -> list[str]:
        differences = []
        for name, (value, use) in self.recipe.parameters.items():
            old_value, old_use = self._then(name, old, logged)
            if old_value != _clipped(value):
                differences.append(f"{name} ({_readable(old_value)} -> {_readable(_clipped(value))})")
            elif old_use != _clipped(use):
                differences.append(f"how the command uses {name}")
        removed = set(old) - set(self.recipe.parameters) - self.recipe.ignored
        differences += [f"{name}, which is no longer a parameter" for name in sorted(removed)]
        return differences

    def _then(self, name: str, old: Mapping[str, Sequence[str]], logged: Mapping[str, str]) -> tuple[str | None, str]:
        """Return the value of a parameter in an earlier run and how the command used it, as far as that is known."""
        if name in old:
            return old[name][0], old[name][1]
        use = _clipped(self.recipe.parameters[name][1])
        value = self._logged(name, logged)
        return (self.recipe.defaults[name] if value is None else _clipped(value)), use

    def _logged(self, name: str, logged: Mapping[str, str]) -> str | None:
        """Return the value that a run really used of a parameter that did not count then; None when nobody knows."""
        parameter = self.recipe.declared.get(name)
        if parameter is None or name not in logged or parameter.type == "path":  # The content of a path is not known.
            return None
        try:
            return canonical(parameter.value(unquoted(logged[name])))
        except UsageError:
            return canonical(logged[name])


def _clipped(text: str) -> str:
    return text if len(text) <= _MAX_LENGTH else f"sha256:{value_digest(text)}"


def _readable(value: str | None) -> str:
    if value is None:
        return "not given"
    return value[1:] if value[:1] in "#'=" else value[:19]


def _canonical_parameter(parameter: Parameter, value: Value, base: Path, argv: Sequence[str]) -> str:
    if parameter.type == "path" and isinstance(value, str):
        path = local_path(value, base, argv)
        if path is not None:
            return f"sha256:{path_digest(path)}"
    return canonical(value)


def recipe_of(
    project: Project, phase: Phase, values: Mapping[str, Value], base: Path | None = None, argv: Sequence[str] = ()
) -> Recipe:
    """Compute the recipe of a phase.

    Args:
        project: The project.
        phase: Its phase.
        values: Typed values of all declared parameters, see `Phase.resolve`.
        base: The folder that given relative paths start from, by default the current one. Relative paths in defaults
            start from the project's folder.
        argv: The command line, in which MLflow passes absolute paths.

    Raises:
        PhaseError: A file of the code or of a path parameter cannot be read.
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
        project=project.name,
        phase=phase.name,
        command=literal,
        code=code.digest,
        files=code.files,
        parameters=parameters,
        defaults=defaults,
        ignored=ignored,
        elsewhere=code.elsewhere,
        declared=phase.parameters,
    )


def _default(parameter: Parameter, base: Path, argv: Sequence[str]) -> str | None:
    if parameter.default is None:
        return None
    try:
        return _canonical_parameter(parameter, parameter.value(), base, argv)
    except UsageError:
        return None
