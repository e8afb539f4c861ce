"""Read an MLproject file into a Project. Errors name the file, the entry point, the key and the allowed values."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.graph import check_graph
from mlflow_plugin.project.matrix_keys import with_matrix_needs
from mlflow_plugin.project.naming import default_name
from mlflow_plugin.project.other_files import joined
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.phase_keys import FILE_WIDE, ROOT_NAME, PipelineKeys
from mlflow_plugin.project.phase_reader import key_fault, read_phase, typed
from mlflow_plugin.project.project import Phase, Pipeline, Project

# The C loader is ten times faster. It is missing when PyYAML was built without libyaml.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Read one MLproject file into a Project."""

    def __init__(self, file: Path, readers: tuple[Path, ...] = ()) -> None:
        self.file = file
        self.readers = readers
        """The files that name this one in their needs, from the outermost."""

    def read(self) -> Project:
        return self.project(self._content())

    def project(self, content: Mapping[str, Any]) -> Project:
        phases: dict[str, Phase] = {}
        pipelines: dict[str, Pipeline] = {}
        others = set()
        for name, entry in content.get("entry_points", {}).items():
            parameters = self._parameters(name, entry.get("parameters") or {})
            command = str(entry.get("command") or "")
            if not isinstance(name, str) and not {"phase", "pipeline"}.isdisjoint(entry):
                raise UsageError(f"{self.file}: entry point {name}: its name must be text. Write it in quotes.")
            if "phase" in entry and "pipeline" in entry:
                raise UsageError(
                    f"{self.file}: entry point {name!r}: it cannot be both a phase and a pipeline. "
                    "Remove `phase:` or `pipeline:`."
                )
            if "phase" in entry:
                phases[name] = read_phase(
                    self.file, name, command, parameters, self._with_defaults(content, entry["phase"])
                )
            elif "pipeline" in entry:
                jobs, keep_going = self._side_by_side(name, entry)
                targets = self._targets(name, entry["pipeline"])
                pipelines[name] = Pipeline(name, command, parameters, targets, jobs, keep_going)
            else:
                others.add(str(name))
        directory = self.file.parent
        project = Project(
            str(content.get("name") or default_name(directory)),
            directory,
            self.file,
            phases,
            pipelines,
            frozenset(others),
            self._roots(content.get("roots")),
            self._image(content.get("docker_env")),
        )
        project = joined(project, self._other, self._elsewhere_fault)
        project = replace(project, phases=with_matrix_needs(project.phases))
        check_graph(project, partial(key_fault, self.file))
        return project

    def _elsewhere_fault(self, entry_point: str, key: str, problem: str) -> UsageError:
        return UsageError(
            f"{self.file}: entry point {entry_point!r}, key `{key}`: {problem}. Allowed: FOLDER#PHASE, with a folder "
            "relative to this file; without #PHASE it is the phase main."
        )

    def _other(self, folder: Path) -> Project:
        """Return the project of another folder, which a need names."""
        directory = Path(os.path.abspath(folder))
        file = mlproject_file(directory)
        if file is None:
            raise UsageError(f"there is no MLproject file in {directory}")
        chain = [*self.readers, self.file]
        if file in chain:
            named = " -> ".join(str(one) for one in [*chain[chain.index(file) :], file])
            raise UsageError(f"the MLproject files need each other in a cycle: {named}")
        return _Reader(file, tuple(chain)).read()

    def _with_defaults(self, content: Mapping[str, Any], raw: object) -> object:
        """Return the keys of a phase over the defaults that `phases:` gives for the whole file."""
        defaults = content.get("phases")
        if defaults is None:
            return raw
        if not isinstance(defaults, dict):
            raise UsageError(
                f"{self.file}: key `phases`: must be a mapping, got {typed(defaults)}. Allowed: {', '.join(FILE_WIDE)}."
            )
        if unknown := [key for key in defaults if key not in FILE_WIDE]:
            raise UsageError(
                f"{self.file}: key `phases.{unknown[0]}`: cannot be a default for all phases. "
                f"Allowed: {', '.join(FILE_WIDE)}."
            )
        return {**defaults, **(raw or {})} if isinstance(raw, dict | None) else raw

    def _roots(self, raw: object) -> dict[str, str]:
        """Return the named folders of `roots:`, with environment variables as they are written."""
        if raw is None:
            return {}
        named = raw.items() if isinstance(raw, dict) else [("", None)]
        roots = {}
        for name, folder in named:
            if not isinstance(folder, str) or not folder or not ROOT_NAME.fullmatch(str(name)):
                raise UsageError(
                    f"{self.file}: key `roots`: must map names to folders, got {typed(raw)}. "
                    "Allowed: NAME: FOLDER, such as data: $DATA; a name has letters, digits, _ and -."
                )
            roots[str(name)] = folder
        return roots

    def _image(self, raw: object) -> str:
        if raw is None:
            return ""
        image = raw.get("image") if isinstance(raw, dict) else None
        if not isinstance(image, str) or not image:
            raise UsageError(
                f"{self.file}: key `docker_env`: must be a mapping with an `image`, got {typed(raw)}. "
                "Allowed: {image: NAME[:TAG], volumes: [...], environment: [...]}."
            )
        return image

    def _content(self) -> dict[str, Any]:
        try:
            content = yaml.load(self.file.read_text(encoding="utf-8"), Loader=_SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
            raise UsageError(f"{self.file}: cannot be read as YAML: {' '.join(str(error).split())}") from None
        entries = content.get("entry_points", {}) if isinstance(content, dict) else None
        if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
            raise UsageError(
                f"{self.file} is not a valid MLproject file: it needs a mapping `entry_points:` of NAME: "
                "{parameters: ..., command: ..., phase: ...}."
            )
        return dict(content)

    def _parameters(self, name: str, raw: object) -> dict[str, Parameter]:
        if not isinstance(raw, dict):
            raise UsageError(
                f"{self.file}: entry point {name!r}, key `parameters`: must be a mapping, got {typed(raw)}. "
                "Allowed: NAME: {type: ..., default: ...}."
            )
        return {str(key): Parameter.declared(str(key), value) for key, value in raw.items()}

    def _targets(self, name: str, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw or not all(isinstance(item, str) for item in raw):
            raise UsageError(
                f"{self.file}: entry point {name!r}, key `pipeline`: must be a list of phases, got {typed(raw)}. "
                "Allowed: a list such as [phase4]."
            )
        return tuple(raw)

    def _side_by_side(self, name: str, entry: Mapping[str, Any]) -> tuple[int, bool]:
        given = {key: entry[key] for key in ("jobs", "keep_going") if key in entry}
        try:
            keys = PipelineKeys.model_validate(given)
        except ValidationError as error:
            key = str(error.errors()[0]["loc"][0])
            raise UsageError(
                f"{self.file}: entry point {name!r}, key `{key}`: got {given[key]!r}. "
                f"Allowed: {'a whole number from 1' if key == 'jobs' else 'true or false'}."
            ) from None
        return keys.jobs, keys.keep_going


def project_of(content: Mapping[str, Any], file: Path) -> Project:
    """Return the project that the content of an MLproject file declares. Raises UsageError like `load_project`."""
    return _Reader(file).project(content)


def mlproject_file(directory: Path) -> Path | None:
    """Return the MLproject file of a folder, None where there is none."""
    names = sorted(directory.iterdir()) if directory.is_dir() else []
    return next((file for file in names if file.name.lower() == "mlproject"), None)


def has_keys(directory: Path, entry_point: str) -> bool:
    """Return whether an entry point declares `phase:` or `pipeline:`. False for a file that is no MLproject file."""
    try:
        file = mlproject_file(directory)
        content: Any = yaml.load(file.read_text(encoding="utf-8"), Loader=_SafeLoader) if file else None
        entry = content["entry_points"][entry_point]
        return isinstance(entry, dict) and not {"phase", "pipeline"}.isdisjoint(entry)
    except (yaml.YAMLError, UnicodeDecodeError, OSError, TypeError, KeyError):
        return False


def load_project(directory: str | Path) -> Project:
    """Read and validate the MLproject file of a folder.

    Raises:
        UsageError: The file is missing or malformed. The message names file, entry point, key and allowed values.
    """
    try:
        folder = Path(directory).expanduser().resolve()
    except OSError as error:  # The folder that this process is in was removed.
        raise UsageError(
            f"{directory}: there is no such folder: {error.strerror}. Change to one that is there."
        ) from None
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder. Give the folder that holds the MLproject file.")
    if file := mlproject_file(folder):
        return _Reader(file).read()
    raise UsageError(
        f"{folder}: there is no MLproject file. Run this in the project's folder, or name it with --project."
    )
