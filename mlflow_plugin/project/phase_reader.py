"""Read the keys of one phase. Errors name the file, the entry point, the key and the allowed values."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.judging import Gate, Quality
from mlflow_plugin.project.matrix import Matrix
from mlflow_plugin.project.matrix_keys import KeyProblem, declared_matrix
from mlflow_plugin.project.outputs import checked_pattern, overlap
from mlflow_plugin.project.parameters import Parameter
from mlflow_plugin.project.phase_keys import ALLOWED, AskAboveKeys, PhaseKeys
from mlflow_plugin.project.project import AskAbove, CheckpointPolicy, InputArtifact, Phase, Resources

__all__ = ["key_fault", "read_phase", "typed"]

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


def typed(value: object) -> str:
    """Return a value after the name of its type: `a list: ['prepare']`."""
    return f"{_TYPE_NAMES.get(type(value), type(value).__name__)}: {value!r}"


def key_fault(file: Path, entry_point: str, key: str, problem: str) -> UsageError:
    """Return the error for a key of a phase, with the values that are allowed for it."""
    allowed = ALLOWED.get(key.split(".")[1] if "." in key else "", f"the keys {', '.join(ALLOWED)}")
    return UsageError(f"{file}: entry point {entry_point!r}, key `{key}`: {problem}. Allowed: {allowed}.")


def read_phase(file: Path, name: str, command: str, parameters: Mapping[str, Parameter], raw: object) -> Phase:
    """Return the phase that an entry point declares.

    Args:
        file: The MLproject file.
        name: The entry point.
        command: Its command.
        parameters: Its parameters.
        raw: The value of its key `phase`, over the defaults of the file.

    Raises:
        UsageError: A key is unknown, or its value wrong.
    """
    return _PhaseReader(file, name, parameters).phase(command, raw)


class _PhaseReader:
    """Read the keys of one phase."""

    def __init__(self, file: Path, name: str, parameters: Mapping[str, Parameter]) -> None:
        self.file, self.name, self.parameters = file, name, parameters

    def fault(self, key: str, problem: str) -> UsageError:
        return key_fault(self.file, self.name, key, problem)

    def phase(self, command: str, raw: object) -> Phase:
        name, parameters = self.name, self.parameters
        if not command:
            raise UsageError(f"{self.file}: entry point {name!r}: a phase needs a `command:`.")
        if not isinstance(raw, dict | None):
            raise self.fault("phase", f"must be a mapping, got {typed(raw)}")
        try:
            keys = PhaseKeys.model_validate(raw or {})
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["phase", *(str(part) for part in first["loc"] if isinstance(part, str))])
            if first["type"] == "extra_forbidden":
                raise self.fault(key, "unknown key") from None
            if first["type"] == "model_type":
                raise self.fault(key, f"must be a mapping, got {typed(first['input'])}") from None
            raise self.fault(key, f"{first['msg'].lower()}, got {first['input']!r}") from None
        quality = Quality(**keys.quality.model_dump()) if keys.quality else None
        if quality and (quality.poor > quality.good if quality.higher_is_better else quality.poor < quality.good):
            worse = "above" if quality.higher_is_better else "below"
            raise self.fault("phase.quality", f"`poor` {quality.poor} is {worse} `good` {quality.good}")
        for key, listed in _listed_parameters(keys):
            if unknown := [item for item in listed if item not in parameters]:
                raise self.fault(f"phase.{key}", f"{unknown[0]!r} is not a parameter of this entry point")
        if duplicates := sorted(need for need in set(keys.needs) if keys.needs.count(need) > 1):
            raise self.fault("phase.needs", f"{duplicates[0]!r} is listed twice")
        if keys.link != "copy" and not keys.outputs:
            raise self.fault("phase.link", f"{keys.link!r} without `outputs:`, which are what is linked")
        inputs = self._inputs(keys.inputs)
        return Phase(
            name=name,
            command=command,
            parameters={**parameters, **{path: replace(parameters[path], type="path") for path in keys.paths}},
            needs=tuple(dict.fromkeys([*keys.needs, *(artifact.need for artifact in inputs.values())])),
            ignore=frozenset(keys.ignore),
            quality=quality,
            gates=self._gates(keys.gates),
            max_age_seconds=self._max_age(keys.max_age),
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
            ask_above=self._ask_above(keys.ask_above),
            outputs=self._outputs(keys.outputs),
            link=keys.link,
            inputs=inputs,
            resources=Resources(keys.resources.cpus, keys.resources.gpus, self._memory(keys.resources.memory)),
            matrix=self._matrix(keys),
        )

    def _matrix(self, keys: PhaseKeys) -> Matrix | None:
        try:
            return declared_matrix(keys, self.parameters)
        except KeyProblem as problem:
            raise self.fault(f"phase.{problem.key}", str(problem)) from None

    def _memory(self, raw: str | int) -> int:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(raw).strip(), re.IGNORECASE)
        if not match:
            raise self.fault("phase.resources", f"`memory` {raw!r} is no size")
        return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))

    def _inputs(self, raw: Mapping[str, str]) -> dict[str, InputArtifact]:
        inputs = {}
        for parameter, text in raw.items():
            if parameter not in self.parameters:
                raise self.fault("phase.inputs", f"{parameter!r} is not a parameter of this entry point")
            need, _, path = text.partition("/")
            parts = path.split("/")
            if not need or not all(parts) or ".." in parts or "\\" in path:
                raise self.fault("phase.inputs", f"{text!r} names no artifact of a phase")
            inputs[parameter] = InputArtifact(need, path)
        return inputs

    def _outputs(self, raw: list[str] | None) -> tuple[str, ...] | None:
        if raw is None:
            return None
        patterns: list[str] = []
        for text in raw:
            try:
                pattern = checked_pattern(text)
            except ValueError as error:
                raise self.fault("phase.outputs", f"{text!r} {error}") from None
            if other := next((one for one in patterns if overlap(one, pattern)), None):
                raise self.fault("phase.outputs", f"{text!r} and {other!r} may name the same file")
            patterns.append(pattern)
        return tuple(patterns)

    def _ask_above(self, raw: AskAboveKeys | float | None) -> AskAbove:
        if isinstance(raw, AskAboveKeys):
            return AskAbove(raw.minutes, raw.usd)
        if raw not in (None, 0):
            raise self.fault("phase.ask_above", f"got {raw!r}")
        return AskAbove() if raw is None else AskAbove(0.0, 0.0)

    def _gates(self, texts: list[str]) -> tuple[Gate, ...]:
        try:
            return tuple(Gate.parse(text) for text in texts)
        except ValueError as error:
            raise self.fault("phase.gates", str(error)) from None

    def _max_age(self, text: str | None) -> float | None:
        if text is None:
            return None
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip())
        if not match:
            raise self.fault("phase.max_age", f"{text!r} is not a duration")
        return float(match[1]) * _AGE_SECONDS[match[2]]


def _listed_parameters(keys: PhaseKeys) -> list[tuple[str, list[str]]]:
    return [(key, getattr(keys, key)) for key in ("ignore", "paths", "not_paths", "size", "extend")]
