"""Read an MLproject file into a Project. Errors name the file, the entry point, the key and the allowed values."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.graph import check_graph
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.matrix import Matrix
from mlflow_plugin.project.matrix_keys import KeyProblem, declared_matrix, with_matrix_needs
from mlflow_plugin.project.naming import default_name
from mlflow_plugin.project.other_files import joined
from mlflow_plugin.project.outputs import checked_pattern, overlap
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.phase_keys import ALLOWED, FILE_WIDE, ROOT_NAME, AskAboveKeys, PhaseKeys, PipelineKeys
from mlflow_plugin.project.project import AskAbove, CheckpointPolicy, InputArtifact, Phase, Pipeline, Project, Resources

# The C loader is ten times faster. It is missing when PyYAML was built without libyaml.
_SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_AGE_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


_TYPE_NAMES = {
    type(None): "null",
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def _typed(value: object) -> str:
    """Return a value after the name of its type: `a list: ['prepare']`."""
    return f"{_TYPE_NAMES.get(type(value), type(value).__name__)}: {value!r}"


class _Reader:
    """Read one MLproject file into a Project."""

    def __init__(self, file: Path, readers: tuple[Path, ...] = ()) -> None:
        self.file = file
        self.readers = readers
        """The files that name this one in their needs, from the outermost."""

    def fault(self, entry_point: str, key: str, problem: str) -> UsageError:
        allowed = ALLOWED.get(key.split(".")[1] if "." in key else "", f"the keys {', '.join(ALLOWED)}")
        return UsageError(f"{self.file}: entry point {entry_point!r}, key `{key}`: {problem}. Allowed: {allowed}.")

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
                phases[name] = self._phase(name, command, parameters, self._with_defaults(content, entry["phase"]))
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
        check_graph(project, self.fault)
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
                f"{self.file}: key `phases`: must be a mapping, got {_typed(defaults)}. "
                f"Allowed: {', '.join(FILE_WIDE)}."
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
                    f"{self.file}: key `roots`: must map names to folders, got {_typed(raw)}. "
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
                f"{self.file}: key `docker_env`: must be a mapping with an `image`, got {_typed(raw)}. "
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
                f"{self.file}: entry point {name!r}, key `parameters`: must be a mapping, got {_typed(raw)}. "
                "Allowed: NAME: {type: ..., default: ...}."
            )
        return {str(key): Parameter.declared(str(key), value) for key, value in raw.items()}

    def _phase(self, name: str, command: str, parameters: dict[str, Parameter], raw: object) -> Phase:
        if not command:
            raise UsageError(f"{self.file}: entry point {name!r}: a phase needs a `command:`.")
        if not isinstance(raw, dict | None):
            raise self.fault(name, "phase", f"must be a mapping, got {_typed(raw)}")
        try:
            keys = PhaseKeys.model_validate(raw or {})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["phase", *(str(part) for part in first["loc"] if isinstance(part, str))])
            if first["type"] == "extra_forbidden":
                raise self.fault(name, key, "unknown key") from None
            if first["type"] == "model_type":
                raise self.fault(name, key, f"must be a mapping, got {_typed(first['input'])}") from None
            raise self.fault(name, key, f"{first['msg'].lower()}, got {first['input']!r}") from None
        quality = Quality(**keys.quality.model_dump()) if keys.quality else None
        if quality and (quality.poor > quality.good if quality.higher_is_better else quality.poor < quality.good):
            worse = "above" if quality.higher_is_better else "below"
            raise self.fault(name, "phase.quality", f"`poor` {quality.poor} is {worse} `good` {quality.good}")
        for key, listed in _listed_parameters(keys):
            if unknown := [item for item in listed if item not in parameters]:
                raise self.fault(name, f"phase.{key}", f"{unknown[0]!r} is not a parameter of this entry point")
        if duplicates := sorted(need for need in set(keys.needs) if keys.needs.count(need) > 1):
            raise self.fault(name, "phase.needs", f"{duplicates[0]!r} is listed twice")
        if keys.link != "copy" and not keys.outputs:
            raise self.fault(name, "phase.link", f"{keys.link!r} without `outputs:`, which are what is linked")
        inputs = self._inputs(name, parameters, keys.inputs)
        return Phase(
            name=name,
            command=command,
            parameters={**parameters, **{path: replace(parameters[path], type="path") for path in keys.paths}},
            needs=tuple(dict.fromkeys([*keys.needs, *(artifact.need for artifact in inputs.values())])),
            ignore=frozenset(keys.ignore),
            quality=quality,
            gates=self._gates(name, keys.gates),
            max_age_seconds=self._max_age(name, keys.max_age),
            code=None if keys.code is None else tuple(keys.code),
            timeout_minutes=keys.timeout_minutes,
            size=tuple(keys.size),
            extend=tuple(keys.extend),
            checkpoints=CheckpointPolicy(**keys.checkpoints.model_dump()),
            observe=keys.observe,
            ignore_reads=tuple(keys.ignore_reads),
            external=keys.external,
            not_paths=frozenset(keys.not_paths),
            environment=keys.environment,
            ask_above=self._ask_above(name, keys.ask_above),
            outputs=self._outputs(name, keys.outputs),
            link=keys.link,
            inputs=inputs,
            resources=Resources(keys.resources.cpus, keys.resources.gpus, self._memory(name, keys.resources.memory)),
            matrix=self._matrix(name, parameters, keys),
        )

    def _matrix(self, name: str, parameters: Mapping[str, Parameter], keys: PhaseKeys) -> Matrix | None:
        try:
            return declared_matrix(keys, parameters)
        except KeyProblem as problem:
            raise self.fault(name, f"phase.{problem.key}", str(problem)) from None

    def _memory(self, name: str, raw: str | int) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(raw).strip(), re.IGNORECASE)
        if not match:
            raise self.fault(name, "phase.resources", f"`memory` {raw!r} is no size")
        return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))

    def _inputs(
        self, name: str, parameters: Mapping[str, Parameter], raw: Mapping[str, str]
    ) -> dict[str, InputArtifact]:
        inputs = {}
        for parameter, text in raw.items():
            if parameter not in parameters:
                raise self.fault(name, "phase.inputs", f"{parameter!r} is not a parameter of this entry point")
            need, _, path = text.partition("/")
            parts = path.split("/")
            if not need or not all(parts) or ".." in parts or "\\" in path:
                raise self.fault(name, "phase.inputs", f"{text!r} names no artifact of a phase")
            inputs[parameter] = InputArtifact(need, path)
        return inputs

    def _outputs(self, name: str, raw: list[str] | None) -> tuple[str, ...] | None:
        if raw is None:
            return None
        patterns: list[str] = []
        for text in raw:
            try:
                pattern = checked_pattern(text)
            except ValueError as error:
                raise self.fault(name, "phase.outputs", f"{text!r} {error}") from None
            if other := next((one for one in patterns if overlap(one, pattern)), None):
                raise self.fault(name, "phase.outputs", f"{text!r} and {other!r} may name the same file")
            patterns.append(pattern)
        return tuple(patterns)

    def _ask_above(self, name: str, raw: AskAboveKeys | float | None) -> AskAbove:
        if isinstance(raw, AskAboveKeys):
            return AskAbove(raw.minutes, raw.usd)
        if raw not in (None, 0):
            raise self.fault(name, "phase.ask_above", f"got {raw!r}")
        return AskAbove() if raw is None else AskAbove(0.0, 0.0)

    def _gates(self, name: str, texts: list[str]) -> tuple[Gate, ...]:
        try:
            return tuple(Gate.parse(text) for text in texts)
        except ValueError as error:
            raise self.fault(name, "phase.gates", str(error)) from None

    def _max_age(self, name: str, text: str | None) -> float | None:
        if text is None:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
        if not match:
            raise self.fault(name, "phase.max_age", f"{text!r} is not a duration")
        return float(match[1]) * _AGE_SECONDS[match[2]]

    def _targets(self, name: str, raw: object) -> tuple[str, ...]:
        if not isinstance(raw, list) or not raw or not all(isinstance(item, str) for item in raw):
            raise UsageError(
                f"{self.file}: entry point {name!r}, key `pipeline`: must be a list of phases, got {_typed(raw)}. "
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


def _listed_parameters(keys: PhaseKeys) -> list[tuple[str, list[str]]]:
    return [(key, getattr(keys, key)) for key in ("ignore", "paths", "not_paths", "size", "extend")]


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
    folder = Path(directory).expanduser().resolve()
    if not folder.is_dir():
        raise UsageError(f"{folder}: there is no such folder. Give the folder that holds the MLproject file.")
    if file := mlproject_file(folder):
        return _Reader(file).read()
    raise UsageError(
        f"{folder}: there is no MLproject file. Run this in the project's folder, or name it with --project."
    )
