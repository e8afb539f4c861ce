"""Declare the parameters of a project once, as a pydantic model: options, defaults, presets and validation follow.

A script of a phase reads `CollectSettings.from_command_line(__doc__)`. Each field is an option: `batch_size` is
`--batch-size`. Options are texts; pydantic gives them their types, and names every fault at once.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from mlflow_plugin.errors import UsageError
from mlflow_plugin.progress import attach_terminal_handler

AUTO = "auto"
"""The value that a preset decides, and the default of the field where the preset says nothing."""


class Settings(BaseModel):
    """Hold the validated parameters of a phase. A project derives one class for each phase.

    `presets` holds, for each value of the field `preset`, the values that `auto` stands for.

    >>> class Training(Settings):
    ...     presets = {"tiny": {"epochs": 1}}
    ...     preset: str = "tiny"
    ...     epochs: int = 3
    >>> Training.read({"epochs": "auto"}).epochs, Training.read({"epochs": "5"}).epochs
    (1, 5)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, validate_default=True)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Return the settings that these values stand for; None and `auto` mean the preset's, else the default.

        Raises:
            UsageError: one or more values are not allowed; the message names each with its parameter.
        """
        given = {name: value for name, value in values.items() if value is not None and value != AUTO}
        preset = given.get("preset", cls._default_preset())
        decided = {name: value for name, value in cls.of_preset(preset).items() if name in cls.model_fields}
        try:
            return cls.model_validate(decided | given)
        except ValidationError as error:
            raise UsageError(_faults(cls, error)) from None

    @classmethod
    def of_preset(cls, preset: Any) -> Mapping[str, Any]:
        """Return the values that `auto` stands for under a preset, by name. Names of other phases may be among them."""
        return cls.presets.get(preset, {})

    @classmethod
    def from_command_line(cls, description: str | None = None, words: Sequence[str] | None = None) -> Self:
        """Return the settings of this process's options. Faults end the process as a PhaseError does: exit code 2.

        Args:
            description: The text of `--help`.
            words: The options, those of the process by default.
        """
        options = vars(cls.parser(description).parse_args(words))
        try:
            return cls.read(options)
        except UsageError as error:
            attach_terminal_handler()
            logging.getLogger("mlflow_plugin").error(str(error))
            sys.exit(error.exit_code)

    @classmethod
    def parser(cls, description: str | None = None) -> argparse.ArgumentParser:
        """Return a parser with an option for each field."""
        parser = argparse.ArgumentParser(description=description)
        for name, default in cls.defaults().items():
            field = cls.model_fields[name]
            text = f"{field.description or _allowed(field)} (default: {default})"
            parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=text.replace("%", "%%"))
        return parser

    @classmethod
    def defaults(cls) -> dict[str, str]:
        """Return the default of each parameter as the text that an MLproject file states."""
        return {name: _text(field.get_default(call_default_factory=True)) for name, field in cls.model_fields.items()}

    @classmethod
    def _default_preset(cls) -> Any:
        field = cls.model_fields.get("preset")
        return None if field is None else field.get_default(call_default_factory=True)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _faults(settings: type[Settings], error: ValidationError) -> str:
    """Return one sentence for each parameter at fault, or for each rule that several parameters break together."""
    reasons: dict[str, list[str]] = {}
    for fault in error.errors(include_url=False):
        reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
        if fault["type"] == "extra_forbidden":
            reason = f"there is no such parameter; the parameters are {', '.join(settings.model_fields)}"
        subject = f"{fault['loc'][0]}={_text(fault['input'])!r}: " if fault["loc"] else ""
        # A field of several types reports one fault for each type.
        reasons.setdefault(subject, []).append(reason)
    return " ".join(f"{subject}{', or '.join(dict.fromkeys(listed))}." for subject, listed in reasons.items())


def _allowed(field: FieldInfo) -> str:
    """Return the choices of a Literal, for the help of an option without a description."""
    return ", ".join(map(str, get_args(field.annotation)))
