"""The open questions: those that a process waits with, and those that ended without an answer."""

import time
from collections.abc import Mapping
from typing import Any

from mlflow_plugin.decision.question import recorded_options
from mlflow_plugin.decision.verdict import Option, SupersededRun
from mlflow_plugin.format import finite
from mlflow_plugin.machine.liveness import is_alive
from mlflow_plugin.reports import models
from mlflow_plugin.store.history import History
from mlflow_plugin.store.run import PhaseRun
from mlflow_plugin.store.sets import values_of
from mlflow_plugin.store.untrusted import dicts, texts

_OF_MATRIX = 50


def questions_view(history: History) -> list[models.Question]:
    """Return the open questions, newest first.

    These are all questions that wait for an answer, and of each phase the newest that ended without one, unless the
    phase was started again since. Each run of a matrix counts by itself.
    """
    asked = history.asking()
    waiting = [run for run in asked if _waits(run)]
    ended: dict[tuple[str, tuple[str, ...]], PhaseRun] = {}
    for run in asked:
        if not _waits(run):
            ended.setdefault((run.phase, _values(history, run)), run)
    open_still = [run for run in ended.values() if not _started_since(history, run, asked)]
    newest_first = sorted([*waiting, *open_still], key=lambda run: run.started_at, reverse=True)
    return [question_model(run) for run in newest_first if run.question]


def _waits(run: PhaseRun) -> bool:
    return run.status == "RUNNING" and is_alive(run.heartbeat, time.time())


def _started_since(history: History, asked: PhaseRun, others: list[PhaseRun]) -> bool:
    # Runs that were read already come first: finding the newest of very many runs takes a tenth of a second.
    at_hand = [run for run in (*others, *history.running()) if run.phase == asked.phase]
    values = _values(history, asked)
    if any(run.started_at > asked.started_at and _values(history, run) == values for run in at_hand):
        return True
    recent = history.recent(asked.phase, _OF_MATRIX if values else 1)
    return any(run.started_at > asked.started_at and _values(history, run) == values for run in recent)


def _values(history: History, run: PhaseRun) -> tuple[str, ...]:
    """Return the values that tell a run of a matrix from the others, each of which may ask; empty for other runs."""
    phase = history.project.phases.get(run.phase)
    return values_of(phase, run) if phase else ()


def question_model(run: PhaseRun) -> models.Question:
    """Return a run's question with the options that the terminal shows."""
    question = run.question
    commands = question.get("commands")
    recorded = {str(one.get("letter")): one for one in dicts(question.get("options"))}
    return models.Question(
        run_id=run.run_id,
        short=run.short,
        phase=run.phase,
        experiment_id=run.experiment_id,
        kind=models.STORED_KINDS.get(str(question.get("kind", ""))),
        asked_at=str(question["asked_at"]) if question.get("asked_at") else None,
        waiting=_waits(run),
        user=run.user or None,
        reasons=list(texts(question.get("reasons"))),
        options=[
            _option_model(run, option, recorded[option.letter], commands if isinstance(commands, dict) else {})
            for option in recorded_options(question)
        ],
    )


def _option_model(
    run: PhaseRun, option: Option, recorded: Mapping[str, Any], commands: Mapping[str, Any]
) -> models.Option:
    not_listed = recorded.get("not_listed")
    return models.Option(
        letter=option.letter,
        decide=option.decide,
        title=option.title,
        price=option.price(),
        keeps=list(option.keeps),
        supersedes=[superseded_model(one) for one in option.supersedes],
        not_listed=not_listed if isinstance(not_listed, int) else 0,
        reruns=list(option.reruns),
        seconds=option.seconds,
        cost_usd=option.cost_usd,
        command=str(commands.get(option.letter, f"mlflow run . -e {run.phase} -P decide={option.decide}")),
    )


def superseded_model(run: SupersededRun) -> models.SupersededRun:
    """Return a superseded run with the sentence that people read."""
    return models.SupersededRun(
        phase=run.phase,
        run_id=run.run_id,
        quality=finite(run.quality),
        metric=run.metric,
        finished_at=run.finished_at,
        duration_seconds=finite(run.duration_seconds),
        cost_usd=finite(run.cost_usd),
        sentence=run.sentence(),
    )
