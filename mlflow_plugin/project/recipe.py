"""Compute the recipe of a phase: everything of a run's identity but its inputs."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.code import CodeDigest, code_digest
from mlflow_plugin.project.command import OUTPUT_NAME, command_usage
from mlflow_plugin.project.digests import path_digest, value_digest
from mlflow_plugin.project.image import image_digest
from mlflow_plugin.project.named import Named, path_of_value
from mlflow_plugin.project.outputs import handed_over, is_output
from mlflow_plugin.project.parameters import Parameter, is_number, local_path
from mlflow_plugin.project.project import Phase, Project


@dataclass(frozen=True)
class Recipe:
    """The identity of a phase's computation without its inputs.

    Attributes:
        project: The project's name.
        phase: The phase's name.
        command: The command with the parameters' places left open.
        code: The digest of the code: programs and the other files that the command names word for word.
        files: File -> digest of the code, to explain differences.
        parameters: Name -> (canonical value or digest of the file it names, how the command uses it).
        defaults: Name -> canonical declared default, None without one.
        ignored: Names of parameters that do not count.
        elsewhere: A name in `files` -> its path, where that is not the name below the project's folder.
        programs: The digest of the programs alone.
        named: Name -> digest of each file and folder, other than programs, that the command or a parameter without the
            type `path` names.
        named_paths: Name -> absolute path of these, and of parameters of type `path`.
        not_paths: Names of parameters whose text never names a file.
        uncompared: Texts of named folders that are too large to be compared, and of files that cannot be read.
        image: The image of `docker_env`, with the id that docker has for it in `image_digest`; empty if unknown.
        declared: Name -> parameter as the MLproject file declares it, to read the logged values of earlier runs.
        has_code: False when no code of the user was found behind the command, so that nothing is known of what it runs.
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
    programs: str = ""
    named: Mapping[str, str] = field(default_factory=dict)
    named_paths: Mapping[str, str] = field(default_factory=dict)
    not_paths: frozenset[str] = frozenset()
    uncompared: tuple[str, ...] = ()
    image: str = ""
    image_digest: str = ""
    declared: Mapping[str, Parameter] = field(default_factory=dict)
    has_code: bool = True

    def digests(self) -> tuple[str, ...]:
        """Return the digests that a run of this recipe is found by, 64 hex digits each, without repetitions.

        The sparse digest leaves out parameters at their default, so that old runs still match after a parameter is
        added. The full one finds a run after a default was changed. Both come once with the files that the command
        names, as in the first version, and once without: a run may have written to these.
        """
        sparse = {name: entry for name, entry in self.parameters.items() if entry[0] != self.defaults[name]}
        parts = [(code, counted) for code in (self.code, self.programs) for counted in (sparse, dict(self.parameters))]
        image = [self.image] if self.image else []
        digests = [value_digest([self.project, self.phase, self.command, *part, *image]) for part in parts]
        return tuple(dict.fromkeys(digests))


def recipe_of(
    project: Project,
    phase: Phase,
    given: Mapping[str, object],
    base: Path | None = None,
    argv: Sequence[str] = (),
    codes: dict[object, CodeDigest] | None = None,
) -> Recipe:
    """Compute the recipe of a phase.

    A parameter of type `path` counts by the content of what it names. So does any other text that names a file or
    folder of data, besides its text, unless it is listed under `not_paths`, is the value of an option that names an
    output, or names a program that counts as code. A relative text is looked for in the project's folder.

    Args:
        project: The project.
        phase: Its phase.
        given: Parameters as the caller wrote them; the others have their defaults.
        base: The folder that given relative paths of type `path` start from, by default the current one. Relative paths
            in defaults start from the project's folder.
        argv: The command line, in which MLflow passes absolute paths.
        codes: The code of other runs of the same matrix, digested a moment ago; filled here.

    Raises:
        UsageError: A parameter is missing or of the wrong type.
        PhaseError: A file of the code or of a path parameter cannot be read.
    """
    literal, usage = command_usage(phase.command, phase.parameters)
    texts, paths = _texts_and_paths(project, phase, given, base or Path.cwd(), argv)
    code, parameters, named, messages = _code_of(project, phase, texts, codes), {}, Named(), {}
    for parameter in phase.result_parameters:
        name, entry, path = parameter.name, named_of_parameter(parameter.name), paths.get(parameter.name)
        canonical = f"sha256:{path_digest(path)}" if path else parameter.canonical(given.get(name))
        parameters[name] = (canonical, usage.get(name, ""))
        if path:
            named.paths[entry] = str(path)
        elif value := _named_by(project, phase, parameter, texts[name], usage.get(name, ""), code):
            named.add(entry, value)
            messages[entry] = f"{name}={texts[name]}"
    uncompared = [*code.named.uncompared, *(messages[name] for name in named.uncompared)]
    return Recipe(
        project=project.name,
        phase=phase.name,
        command=literal,
        code=code.digest,
        files=code.files,
        parameters=parameters,
        defaults={one.name: _default(one, project.directory, argv) for one in phase.result_parameters},
        ignored=phase.ignore | phase.steering_parameters,
        elsewhere=code.elsewhere,
        programs=code.programs,
        named={**code.named.digests, **named.digests},
        named_paths={**code.named.paths, **named.paths},
        not_paths=frozenset(named_of_parameter(name) for name in phase.not_paths | phase.ignore),
        uncompared=tuple(sorted(uncompared)),
        image=project.image,
        image_digest=image_digest(project.image) if project.image else "",
        declared=phase.parameters,
        has_code=code.has_code,
    )


def _code_of(
    project: Project, phase: Phase, texts: Mapping[str, str], codes: dict[object, CodeDigest] | None
) -> CodeDigest:
    """Return the code of a phase. For runs of a matrix whose values select no file it is the same."""
    outputs = handed_over(project, phase)
    if codes is None or any(_may_select_code(project, phase, name, texts[name]) for name in phase.member):
        return code_digest(project.directory, phase.command, phase.code, texts, outputs)
    key = tuple(sorted((name, text) for name, text in texts.items() if name not in phase.member))
    if key not in codes:
        codes[key] = code_digest(project.directory, phase.command, phase.code, texts, outputs)
    return codes[key]


def _may_select_code(project: Project, phase: Phase, name: str, text: str) -> bool:
    """Return whether a value may be a part of the name of a file, or of a program that the command calls."""
    place = re.escape(named_of_parameter(name))
    parts_of_words = re.search(rf"[^\s=]{place}|{place}[^\s]", phase.command)
    return (
        bool(parts_of_words)
        or not is_number(text)
        or os.path.lexists(project.directory / text)
        or "cd " in phase.command
    )


def named_of_parameter(name: str) -> str:
    """Return the name of a parameter's file or folder among the named ones."""
    return f"{{{name}}}"


def _texts_and_paths(
    project: Project, phase: Phase, given: Mapping[str, object], folder: Path, argv: Sequence[str]
) -> tuple[dict[str, str], dict[str, Path]]:
    """The text of each parameter that may stand in a file's name, and the path of each that is of type `path`.

    Pinned runs and the plugin's own parameters never select code.
    """
    texts, paths = {}, {}
    for name, parameter in phase.parameters.items():
        if name in phase.steering_parameters:
            continue
        texts[name] = parameter.text(given.get(name))
        if parameter.type == "path":
            declared = texts[name] == str(parameter.default) or lies_in_project(project, phase, name)
            own = project.directory if declared else folder
            path = local_path(texts[name], own, argv)
            # The content of an output is that of an upstream run, which is compared as an input.
            if path and not is_output(project.directory, handed_over(project, phase), path):
                paths[name], texts[name] = path, str(path)
    return texts, paths


def lies_in_project(project: Project, phase: Phase, name: str) -> bool:
    """Return whether a value of a matrix is a path in the project's folder, from where the MLproject file means it."""
    return name in phase.member and os.path.lexists(project.directory / phase.member[name])


def _named_by(
    project: Project, phase: Phase, parameter: Parameter, text: str, usage: str, code: CodeDigest
) -> str | None:
    """The file or folder that a parameter's text names, None if it does not count by its content."""
    words = [word.strip("\"'") for word in usage.split()]
    options = [word.partition("=")[0].lower() for word in words if word.startswith("-")] + [parameter.name.lower()]
    if parameter.name in phase.not_paths or any(OUTPUT_NAME.fullmatch(option) for option in options):
        return None
    # A value that is a part of longer words alone, as in `{name}.yaml`, is no path by itself.
    if words and not any(word.rpartition("=")[2] == named_of_parameter(parameter.name) for word in words):
        return None
    directory = str(project.directory)
    path = path_of_value(text, directory)
    if path is None or os.path.relpath(path, directory).replace(os.sep, "/") in code.files:
        return None
    if is_output(directory, handed_over(project, phase), path):
        return None
    return path


def _default(parameter: Parameter, base: Path, argv: Sequence[str]) -> str | None:
    if parameter.default is None:
        return None
    try:
        path = local_path(parameter.text(), base, argv) if parameter.type == "path" else None
        return f"sha256:{path_digest(path)}" if path else parameter.canonical()
    except UsageError:
        return None
