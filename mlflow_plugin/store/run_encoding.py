"""Values as the tracking store holds them in tags: times, texts and JSON; and who writes them."""

import getpass
import json
from datetime import UTC, datetime
from functools import lru_cache

from mlflow_plugin.store import schema

RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
"""MLflow's own tags of a run: its name, and its description in Markdown."""


def clipped(text: str) -> str:
    """At most a tag's length, and told so: MLflow itself cuts without a word."""
    return text if len(text) <= schema.TAG_LENGTH else f"{text[: schema.TAG_LENGTH - 20]} ... (cut)"


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@lru_cache
def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def dumps(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), default=str)
