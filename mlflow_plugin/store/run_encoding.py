"""Values in the form in which tags hold them: times, texts, JSON, and the user's name."""

import getpass
import json
from datetime import UTC, datetime
from functools import lru_cache

from mlflow_plugin.store import schema

RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
"""MLflow's own tags of a run: its name, and its description in Markdown."""


def clipped(text: str) -> str:
    """Cut a text to a tag's length and say so; MLflow itself cuts without a word."""
    return text if len(text) <= schema.TAG_LENGTH else f"{text[: schema.TAG_LENGTH - 20]} ... (cut)"


def now() -> str:
    """Return the present time, UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@lru_cache
def user() -> str:
    """Return the name of the user of this process."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def dumps(content: object) -> str:
    """Return compact JSON."""
    return json.dumps(content, separators=(",", ":"), default=str)
