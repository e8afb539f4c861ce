"""Parse and compare parameters as typed values: MLflow stores them as shell-quoted text, and `1e-3` equals `0.001`."""

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow_plugin.errors import UsageError

Value = str | int | float | bool | None
TRUNCATED_AT = 6000
"""MLflow truncates a logged parameter to this many characters, without a message."""


@dataclass(frozen=True)
class Parameter:
    """A declared parameter of an entry point. `type` is that of the MLproject file, empty when it declares none."""

    name: str
    type: str = ""
    default: Value = None

    @classmethod
    def declared(cls, name: str, raw: Any) -> "Parameter":
        """Read a declaration of the MLproject file: a type alone, or `{type: ..., default: ...}`."""
        if isinstance(raw, dict):
            default = raw.get("default")
            simple = default is None or isinstance(default, str | int | float)
            return cls(name, str(raw.get("type", "")), default if simple else str(default))
        return cls(name, str(raw or ""))

    def value(self, given: object = None) -> Value:
        """Return the typed value of `given`, or of the default when it is None.

        MLflow itself checks no types but `path` and `uri`. So `None`, and a default of another type than the declared
        one, are taken as they are; of other values a wrong type is an error.

        Raises:
            UsageError: There is no value, or it has the wrong type.

        >>> Parameter("rate", "float").value("1e-3")
        0.001
        """
        raw = self._raw(given)
        try:
            return _typed(raw, self._kind)
        except ValueError:
            if str(raw) == "None":
                return None
            if str(raw) == str(self.default):
                return str(raw)
            raise UsageError(
                f"parameter {self.name!r} must be {_TYPE_TEXTS[self._kind]}, got {_quoted(str(raw))}."
            ) from None

    def text(self, given: object = None) -> str:
        """Return the text that MLflow puts into the command for `given`, or for the default. Raises UsageError."""
        return str(self._raw(given))

    def canonical(self, given: object = None) -> str:
        """Return one text for all values that count as the same. Raises UsageError.

        With a type the value counts: `1e-3` is 0.001. Without one the text counts: `1.10` is not `1.1`, as it is not
        for the command.

        >>> Parameter("rate").canonical("1e-3") == Parameter("rate").canonical("0.001")
        False
        """
        value = self.value(given)
        if self.type:
            return canonical(value)
        text = self.text(given)
        # A number that is written as Python writes it was stored as one by earlier versions.
        as_value = canonical(value)
        return as_value if as_value[1:] == text else canonical(text)

    @property
    def _kind(self) -> str:
        return _SAME_TYPES.get(self.type, self.type) or _implied_type(self.default)

    def _raw(self, given: object) -> object:
        raw = self.default if given is None else given
        if raw is None:
            raise UsageError(f"parameter {self.name!r} has no default: pass -P {self.name}=VALUE.")
        return raw


_INFERRED = "inferred"
_SAME_TYPES = {"integer": "int", "long": "int", "boolean": "bool", "double": "float"}
_TYPE_TEXTS = {"int": "an integer", "float": "a number", "bool": "true or false"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def _quoted(text: str) -> str:
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
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError
        return text.lower() in _TRUE
    if kind in (_INFERRED, "number"):
        for stricter in ("int", "float"):
            with suppress(ValueError):
                return _typed(raw, stricter)
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
    return str(raw)


def _implied_type(default: Value) -> str:
    """Return the type of a parameter that declares none: text when its default is text, else that of each value."""
    text = default is not None and isinstance(_typed(default, _INFERRED), str)
    return "string" if text else _INFERRED


def canonical(value: Value) -> str:
    """Return one text for each value. The text `'1'` differs from the number 1.

    >>> canonical(1), canonical(1.0), canonical("1"), canonical(True)
    ('#1', '#1', "'1", '=True')
    """
    if isinstance(value, bool) or value is None:
        return f"={value}"
    if isinstance(value, float):
        return f"#{int(value)}" if value.is_integer() else f"#{value!r}"
    if isinstance(value, int):
        return f"#{value}"
    return f"'{value}"


def unquoted(text: str) -> str:
    """Return a logged parameter without the shell quotes that MLflow adds.

    >>> unquoted("'two words'")
    'two words'
    """
    try:
        tokens = shlex.split(text)
    except ValueError:
        return text
    return tokens[0] if len(tokens) == 1 else text


def is_truncated(value: object) -> bool:
    """Return whether MLflow truncates a value when it logs it."""
    return len(shlex.quote(str(value))) >= TRUNCATED_AT


def logged_value(text: str, argv: Sequence[str]) -> str:
    """Return a logged parameter as it was given.

    Args:
        text: The logged text.
        argv: The command line, from which a truncated parameter is recovered.

    Raises:
        UsageError: A truncated parameter is not on the command line, or matches several arguments. Values that differ
            only after the limit must not count as equal.
    """
    if len(text) < TRUNCATED_AT:
        return unquoted(text)
    arguments = {candidate for argument in argv for candidate in (argument, argument.partition("=")[2])}
    candidates = [candidate for candidate in arguments if shlex.quote(candidate)[:TRUNCATED_AT] == text]
    if len(candidates) == 1:
        return candidates[0]
    raise UsageError(
        f"MLflow truncated a parameter to {TRUNCATED_AT} characters, so it cannot be compared: "
        "pass it in a file, or run with `-b phases`."
    )


def without_defaults(given: Mapping[str, object], declared: Mapping[str, Parameter]) -> dict[str, object]:
    """Return the parameters that differ from their default. MLflow logs those at their default as well."""
    return {
        name: value for name, value in given.items() if name not in declared or str(declared[name].default) != value
    }


def is_number(text: str) -> bool:
    """Return True for a text that `float` takes, such as `1e-3` or `nan`."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def local_text(text: str) -> str:
    """Return a path without `file://`, and with the home folder in place of `~`.

    >>> local_text("file:///data/two%20rows.csv")
    '/data/two rows.csv'
    """
    if text.startswith("~/"):
        return os.path.expanduser("~") + text[1:]
    if not text.startswith("file:"):
        return text
    with suppress(ValueError):
        return unquote(urlsplit(text).path) or text
    return text


def local_path(text: str, base: Path, argv: Sequence[str] = ()) -> Path | None:
    """Return the file or folder that a `path` parameter names, None when this machine has none.

    MLflow resolves it against the caller's folder, but writes the absolute path only into the command line.

    Args:
        text: The parameter's value.
        base: The folder that a relative path starts from when the command line has no match.
        argv: The command line.

    Raises:
        UsageError: Several arguments of the command line match.
    """
    text = local_text(text)
    text = local_text(text)
    if not text:
        return None
    ending = "/" + text.removeprefix("./")
    paths = [part for argument in argv for part in (argument, argument.partition("=")[2]) if part.startswith("/")]
    matches = {path for path in paths if path == text or path.endswith(ending)}
    relative_to_base = os.path.normpath(base / text)
    if relative_to_base not in matches and len(matches) > 1:
        raise UsageError(f"{text!r} could be any of {', '.join(sorted(matches))}: pass it as an absolute path.")
    if matches:
        chosen = Path(relative_to_base if relative_to_base in matches else matches.pop())
        return chosen if chosen.exists() else None
    try:
        path = (base / text).resolve()
        return path if path.exists() else None
    except (OSError, ValueError):
        return None
