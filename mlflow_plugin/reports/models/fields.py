"""The base of all models that leave the package as JSON, and words that are read from a store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, PlainSerializer

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

    # Building a model at its first use keeps the import short for commands that need few of them.
    model_config = ConfigDict(use_attribute_docstrings=True, defer_build=True)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for JSON: times as ISO 8601, numbers, texts, lists, None."""
        return self.model_dump(mode="json")
