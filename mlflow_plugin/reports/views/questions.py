"""The open questions as plain data: those that a process waits with, and those that nobody answered in time."""

import time
from typing import Any

from mlflow_plugin.decision.question import dicts, recorded_options, texts
from mlflow_plugin.decision.verdict import Option, SupersededRun, superseded_dict
from mlflow_plugin.machine.liveness import is_alive
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun


def questions_view(history: History) -> list[dict[str, Any]]:
    """All questions that wait for an answer, and of each phase the newest that ended without one, unless the phase was
    started again since; newest first."""
    asked = history.asking()
    waiting = [run for run in asked if _waits(run)]
    ended: dict[str, PhaseRun] = {}
    for run in asked:
        if not _waits(run):
            ended.setdefault(run.phase, run)
    open_still = [run for run in ended.values() if not _started_since(history, run, asked)]
    found = sorted([*waiting, *open_still], key=lambda run: run.started_at, reverse=True)
    return [question_dict(run) for run in found if run.question]


def _waits(run: PhaseRun) -> bool:
    return run.status == "RUNNING" and is_alive(run.heartbeat, time.time())


def _started_since(history: History, asked: PhaseRun, others: list[PhaseRun]) -> bool:
    # What is at hand first: to ask for the newest run of a phase that has very many takes a tenth of a second.
    at_hand = [*others, *history.running()]
    if any(run.phase == asked.phase and run.started_at > asked.started_at for run in at_hand):
        return True
    return any(run.started_at > asked.started_at for run in history.recent(asked.phase, 1))


def question_dict(run: PhaseRun) -> dict[str, Any]:
    """A question with its options as the terminal shows them. `waiting` tells whether an answer reaches the process."""
    question = run.question
    commands = question.get("commands")
    contents = {str(one.get("letter")): one for one in dicts(question.get("options"))}
    return {
        "run_id": run.run_id,
        "short": run.short,
        "phase": run.phase,
        "experiment_id": run.experiment_id,
        "kind": str(question.get("kind", "")),
        "asked_at": str(question["asked_at"]) if question.get("asked_at") else None,
        "waiting": _waits(run),
        "user": run.user or None,
        "reasons": list(texts(question.get("reasons"))),
        "options": [
            _option_dict(run, option, contents[option.letter], commands if isinstance(commands, dict) else {})
            for option in recorded_options(question)
        ],
    }


def _option_dict(run: PhaseRun, option: Option, content: dict[str, Any], commands: dict[str, Any]) -> dict[str, Any]:
    not_listed = content.get("not_listed")
    return {
        "letter": option.letter,
        "decide": option.decide,
        "title": option.title,
        "price": option.price(),
        "keeps": list(option.keeps),
        "throws_away": [superseded_view(one) for one in option.supersedes],
        "not_listed": not_listed if isinstance(not_listed, int) else 0,
        "reruns": list(option.reruns),
        "seconds": option.seconds,
        "cost_usd": option.cost_usd,
        "command": str(commands.get(option.letter, f"mlflow run . -e {run.phase} -P decide={option.decide}")),
    }


def superseded_view(one: SupersededRun) -> dict[str, Any]:
    """A one as plain data, with the sentence that people read."""
    return superseded_dict(one) | {"sentence": one.sentence()}
