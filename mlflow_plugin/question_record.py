"""A question as JSON that fits into a tag, for those who answer from elsewhere."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.names import TAG_LENGTH
from mlflow_plugin.verdict import Loss, Option, Verdict


def question_json(verdict: Verdict) -> str:
    """A question as JSON that fits into a tag: the longest lists are cut first, and the cut is counted."""
    at_most = 40
    while True:
        content = {
            "kind": verdict.kind,
            "reasons": list(verdict.reasons),
            "options": [_option(option, at_most) for option in verdict.options],
            "asked_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        text = _dumps(content)
        if len(text) <= TAG_LENGTH or at_most == 0:
            return text if len(text) <= TAG_LENGTH else _dumps({**content, "reasons": [], "options": []})
        at_most //= 2


def _option(option: Option, at_most: int) -> dict[str, Any]:
    return {
        "letter": option.letter,
        "decide": option.decide,
        "title": option.title,
        "keeps": list(option.keeps[:at_most]),
        "throws_away": [_loss(loss) for loss in option.throws_away[:at_most]],
        "not_listed": max(0, len(option.throws_away) - at_most),
        "reruns": list(option.reruns),
        "seconds": option.seconds,
        "cost_usd": option.cost_usd,
    }


def _loss(loss: Loss) -> dict[str, Any]:
    return {**asdict(loss), "finished_at": loss.finished_at.isoformat() if loss.finished_at else None}


def _dumps(content: object) -> str:
    return json.dumps(content, separators=(",", ":"))
