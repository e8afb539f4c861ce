"""Read texts and JSON of the tracking store, which anybody can write. Pure. Nothing here raises for any input.

Home-made, since pydantic refuses file names that are not UTF-8, which Python holds as half characters.
"""

import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

__all__ = ["dicts", "is_experiment_id", "is_run_id", "mapping", "moment", "number", "parsed", "texts"]

_DEEPEST = 20
"""JSON of this package is six deep. What is much deeper overflows the stack of whatever shows it."""
_RUN_ID = re.compile("[0-9a-f]{32}")
_EXPERIMENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LONGEST_TIME = 64


def parsed(text: str | None) -> Any:
    """Return the value of a JSON text; None for anything else, and for deep nesting. NaN and infinities become null."""
    with suppress(ValueError, TypeError, RecursionError):  # A few thousand brackets are enough for the last.
        content = json.loads(text or "", parse_constant=lambda name: None)
        return content if _is_shallow(content, _DEEPEST) else None
    return None


def _is_shallow(content: object, depth: int) -> bool:
    if not isinstance(content, dict | list):
        return True
    inner = content.values() if isinstance(content, dict) else content
    return depth > 0 and all(_is_shallow(one, depth - 1) for one in inner)


def mapping(text: str | None) -> dict[str, Any]:
    """Return a JSON object; empty for anything else."""
    content = parsed(text)
    return content if isinstance(content, dict) else {}


def moment(text: object) -> datetime | None:
    """Return an ISO 8601 time in UTC, which a text without a zone is taken to be in; None for anything else.

    >>> moment("2026-03-01T09:30:00+01:00")
    datetime.datetime(2026, 3, 1, 8, 30, tzinfo=datetime.timezone.utc)
    >>> moment("+31690708-07-05T00:00:00+00:00") is moment("9999-12-31T23:59:59-23:59") is None
    True
    """
    if not isinstance(text, str) or len(text) > _LONGEST_TIME:
        return None
    with suppress(ValueError, OverflowError):
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    return None


def number(value: object) -> float | None:
    """Return a finite number of JSON; None for anything else.

    >>> [number(value) for value in (1, 2.5, True, "1", 10**400, math.nan)]
    [1.0, 2.5, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    with suppress(OverflowError):
        return float(value) if math.isfinite(value) else None
    return None


def dicts(value: object) -> list[dict[str, Any]]:
    """Return the JSON objects of a list; empty for anything else."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def texts(value: object) -> tuple[str, ...]:
    """Return the items of a list as texts; empty for anything else."""
    return tuple(str(one) for one in value) if isinstance(value, list) else ()


def is_run_id(text: str) -> bool:
    """Return whether a text has the form of a run's id. Asked for another, MLflow or its database raises an error."""
    return _RUN_ID.fullmatch(text) is not None


def is_experiment_id(text: str) -> bool:
    """Return whether a text has the form of an experiment's id."""
    return _EXPERIMENT_ID.fullmatch(text) is not None
