"""Parameters as values, not text: MLflow keeps them shell-quoted and as strings, so `1e-3` must equal `0.001`."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import UsageError

Value = str | int | float | bool | None
TRUNCATED_AT = 6000
"""MLflow cuts a logged parameter at this many characters without a word."""


@dataclass(frozen=True)
class Parameter:
    """A declared parameter of an entry point; `type` as in the MLproject file, or empty when it states none."""

    name: str
    type: str = ""
    default: Value = None

    @classmethod
    def declared(cls, name: str, raw: Any) -> "Parameter":
        """From the MLproject file: either a type alone, or `{type: ..., default: ...}`."""
        if isinstance(raw, dict):
            default = raw.get("default")
            simple = default is None or isinstance(default, str | int | float)
            return cls(name, str(raw.get("type", "")), default if simple else str(default))
        return cls(name, str(raw or ""))

    def value(self, given: object = None) -> Value:
        """The typed value of what was given, or of the default. Raises UsageError: missing, or of the wrong type."""
        raw = self.default if given is None else given
        if raw is None:
            raise UsageError(f"parameter {self.name!r} has no default: pass -P {self.name}=VALUE.")
        try:
            return _typed(raw, self.type or _implied(self.default))
        except ValueError:
            raise UsageError(f"parameter {self.name!r} takes {_ARTICLE[self.type]}, not {_shown(str(raw))}.") from None


_AS_IT_READS = "as it reads"
_ARTICLE = {"int": "an integer", "float": "a number", "bool": "true or false"}


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


def _typed(raw: object, kind: str) -> Value:
    text = str(raw).strip()
    if kind == "int":
        if text.lstrip("+-").isdigit():
            return int(text)
        number = float(text)
        if not number.is_integer():
            raise ValueError
        return int(number)
    if kind == "float":
        return float(text)
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError
        return text.lower() == "true"
    if kind in (_AS_IT_READS, "number"):
        for stricter in ("int", "float", "bool"):
            with suppress(ValueError):
                return _typed(raw, stricter)
    return str(raw)


def _implied(default: Value) -> str:
    """What a parameter without a type is: text when its default is text, else whatever a value reads as."""
    text = default is not None and isinstance(_typed(default, _AS_IT_READS), str)
    return "string" if text else _AS_IT_READS


def canonical(value: Value) -> str:
    """One text for each value: 1, 1.0 and 1e0 give the same, `'1'` as text another."""
    if isinstance(value, bool) or value is None:
        return f"={value}"
    if isinstance(value, float):
        return f"#{int(value)}" if value.is_integer() else f"#{value!r}"
    if isinstance(value, int):
        return f"#{value}"
    return f"'{value}"


def unquoted(text: str) -> str:
    """What MLflow logged, without the shell quotes that it put around it."""
    try:
        tokens = shlex.split(text)
    except ValueError:
        return text
    return tokens[0] if len(tokens) == 1 else text


def is_cut(value: object) -> bool:
    """Whether MLflow cuts a value when it logs it."""
    return len(shlex.quote(str(value))) >= TRUNCATED_AT


def logged_value(text: str, argv: Sequence[str]) -> str:
    """A logged parameter as it was given; one that MLflow cut is recovered from the command line `argv`.

    Raises UsageError when it cannot be recovered, or could be either of two: values that differ past the cut must not
    look equal.
    """
    if len(text) < TRUNCATED_AT:
        return unquoted(text)
    whole = {candidate for argument in argv for candidate in (argument, argument.partition("=")[2])}
    found = [candidate for candidate in whole if shlex.quote(candidate)[:TRUNCATED_AT] == text]
    if len(found) == 1:
        return found[0]
    raise UsageError(
        f"a parameter of more than {TRUNCATED_AT} characters was cut by MLflow and cannot be compared: "
        "pass it in a file, or run with `-b phases`."
    )


def without_defaults(given: Mapping[str, object], declared: Mapping[str, Parameter]) -> dict[str, object]:
    """What somebody typed: MLflow logs the parameters that stand at their declared default as well."""
    return {
        name: value for name, value in given.items() if name not in declared or str(declared[name].default) != value
    }


def local_path(text: str, base: Path, argv: Sequence[str] = ()) -> Path | None:
    """The file or folder that a `path` parameter names, or None when it is none on this machine.

    MLflow resolves it against the folder of the caller and hands only the command line the absolute form. Raises
    UsageError when that leaves several to choose from.
    """
    if not text:
        return None
    ends = "/" + text.removeprefix("./")
    parts = [part for argument in argv for part in (argument, argument.partition("=")[2]) if part.startswith("/")]
    named = {part for part in parts if part == text or part.endswith(ends)}
    here = os.path.normpath(base / text)
    if here not in named and len(named) > 1:
        raise UsageError(f"{text!r} could be any of {', '.join(sorted(named))}: pass it with its whole path.")
    if named:
        chosen = Path(here if here in named else named.pop())
        return chosen if chosen.exists() else None
    try:
        found = (base / text).resolve()
        return found if found.exists() else None
    except (OSError, ValueError):
        return None
