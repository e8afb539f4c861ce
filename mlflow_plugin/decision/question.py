"""A question as JSON that fits into a tag, for answers from elsewhere, and the answer to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow_plugin.decision.verdict import Option, SupersededRun, Verdict, superseded_dict
from mlflow_plugin.format import finite
from mlflow_plugin.project.vocabulary import STORED
from mlflow_plugin.store.schema import TAG_LENGTH
from mlflow_plugin.store.untrusted import dicts, moment, number, texts


@dataclass(frozen=True)
class Answer:
    """An option that was chosen, the person who chose it, and when (ISO 8601; empty for just now)."""

    option: Option
    by: str
    at: str = ""


def question_json(verdict: Verdict, commands: Mapping[str, str] | None = None) -> str:
    """Return a question as JSON that fits into a tag: the longest lists are cut first and the cut is counted, then
    texts.

    Args:
        verdict: The verdict `ask` with its options.
        commands: The command to type for each letter. Half a command is of no use: all are left out when they do not
            fit.
    """
    for at_most, longest in _CUTS:
        content = {
            "kind": STORED.get(verdict.kind, verdict.kind),
            "reasons": [_cut(reason, longest) for reason in verdict.reasons[:_REASONS]],
            "options": [_option(option, at_most, longest) for option in verdict.options],
            "asked_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        text = json.dumps(content, separators=(",", ":"), allow_nan=False)
        if len(text) <= TAG_LENGTH:
            break
    complete = json.dumps({**content, "commands": dict(commands or {})}, separators=(",", ":"), allow_nan=False)
    return complete if len(complete) <= TAG_LENGTH else text


_REASONS = 5
_CUTS = ((40, TAG_LENGTH), (20, TAG_LENGTH), (10, TAG_LENGTH), (5, 400), (2, 200), (0, 50))


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ..."


def _option(option: Option, at_most: int, longest: int) -> dict[str, Any]:
    return {
        "letter": option.letter,
        "decide": option.decide,
        "title": _cut(option.title, longest),
        "keeps": [_cut(kept, longest) for kept in option.keeps[:at_most]],
        # The key of format 1, which stores have.
        "throws_away": [superseded_dict(one) for one in option.supersedes[:at_most]],
        "not_listed": max(0, len(option.supersedes) - at_most),
        "reruns": [_cut(phase, longest) for phase in option.reruns[: max(at_most, 2)]],
        "seconds": finite(option.seconds),
        "cost_usd": finite(option.cost_usd),
    }


def recorded_options(question: Mapping[str, Any]) -> list[Option]:
    """Return the options of a question that was read from a tag. Anybody can write a tag: malformed options are left
    out.
    """
    return [_recorded_option(one) for one in dicts(question.get("options")) if one.get("letter")]


def _recorded_option(content: Mapping[str, Any]) -> Option:
    return Option(
        letter=str(content["letter"]),
        decide=str(content.get("decide", "")),
        title=str(content.get("title", "")),
        keeps=texts(content.get("keeps")),
        supersedes=tuple(_recorded_superseded(one) for one in dicts(content.get("throws_away"))),
        reruns=texts(content.get("reruns")),
        seconds=number(content.get("seconds")),
        cost_usd=number(content.get("cost_usd")),
    )


def _recorded_superseded(content: Mapping[str, Any]) -> SupersededRun:
    return SupersededRun(
        phase=str(content.get("phase", "")),
        run_id=str(content.get("run_id", "")),
        quality=number(content.get("quality")),
        metric=str(content.get("metric", "")),
        finished_at=moment(content.get("finished_at")),
        duration_seconds=number(content.get("duration_seconds")),
        cost_usd=number(content.get("cost_usd")),
    )
