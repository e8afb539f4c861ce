"""The base of all models that leave the package as JSON, and words that are read from a store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, PlainSerializer, ValidationError, model_validator

from mlflow_plugin.project.vocabulary import STORED, Action, Grade, Kind, State

# Texts to words of a fixed set. Anybody can write a tag, so a text may be none of them.
ACTIONS: Mapping[str, Action] = {word: word for word in get_args(Action)}
GRADES: Mapping[str, Grade] = {word: word for word in get_args(Grade)}
STATES: Mapping[str, State] = {word: word for word in get_args(State)}
KINDS: Mapping[str, Kind] = {word: word for word in get_args(Kind)}
# A store keeps some words as earlier versions wrote them.
STORED_KINDS: Mapping[str, Kind] = {**KINDS, **{old: KINDS[word] for word, old in STORED.items() if word in KINDS}}


Moment = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str, when_used="json")]
"""A time; in JSON as ISO 8601 with its offset written in numbers."""


class Fields(BaseModel):
    """A model whose fields are described by the texts below them."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _without_halves(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Accept texts with halves of characters, which stores can hold and pydantic refuses; each becomes a `?`."""
        try:
            return handler(data)
        except ValidationError as error:
            if all(one["type"] != "string_unicode" for one in error.errors()):
                raise
            return handler(_whole_characters(data))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: times as ISO 8601, numbers, texts, lists, None."""
        return self.model_dump(mode="json")


def _whole_characters(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(one) for key, one in value.items()}
    return [_whole_characters(one) for one in value] if isinstance(value, list) else value
