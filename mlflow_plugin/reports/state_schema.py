"""What `state.json` holds, field by field. `state.schema.json` is made from this: `python -m
mlflow_plugin.reports.state_schema` prints it.

A field may be added while `schema_version` stays; one that is removed or means something else raises it.
"""

import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

PhaseStateName = Literal[
    "up to date",
    "stale",
    "invalidated",
    "poor",
    "borderline",
    "gate failed",
    "quality unknown",
    "running",
    "stuck",
    "stopped",
    "interrupted",
    "failed",
    "asking",
    "quarantined",
    "missing",
]
Grade = Literal["good", "borderline", "poor", "gate", "unknown"]


class _Fields(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True)


class Experiment(_Fields):
    """The MLflow experiment."""

    id: str
    """Its id in the tracking store; empty when it does not exist yet."""
    name: str | None
    """Its name."""


class Pipeline(_Fields):
    """An entry point that runs several phases."""

    name: str
    """The entry point."""
    targets: list[str]
    """The phases that it runs, with all that they need."""


class Project(_Fields):
    """What the MLproject file declares."""

    name: str
    """The project."""
    pipelines: list[Pipeline]
    """Its pipelines."""


class Quality(_Fields):
    """How good a phase's result is, against its two thresholds."""

    metric: str
    """The metric that tells."""
    value: float | None
    """What the run logged; null when it logged none."""
    grade: Literal["good", "borderline", "poor", "unknown"] | None
    """How the value stands to the thresholds; null before there is a result."""
    good: float
    """From here on (or up to here, where lower is better) a result is good."""
    poor: float
    """Beyond this a result is poor."""
    higher_is_better: bool
    """Whether a higher value is better."""


class Gate(_Fields):
    """A further condition on logged metrics."""

    text: str
    """The condition."""
    passed: bool | None
    """Whether it holds; null before there is a result."""


class Run(_Fields):
    """One run of a phase. Seconds, US dollars."""

    run_id: str
    """Its id in MLflow."""
    short: str
    """The first eight characters of that."""
    phase: str
    """Its phase."""
    status: str
    """MLflow's own status. FINISHED alone does not mean complete: `completed_at` does."""
    verdict: str | None
    """reuse, resume, run, wait or ask."""
    reason: str | None
    """Why, or what went wrong."""
    started_at: datetime | None
    """When it was started."""
    completed_at: datetime | None
    """When its result was committed; null for a run without one."""
    duration_seconds: float | None
    """Wall time of the work; null for a reuse."""
    cost_usd: float | None
    """That time at the price of the hardware."""
    quality: float | None
    """The value of the phase's quality metric."""
    grade: Grade | None
    """How good it is: `gate` is a good value with a gate that fails. Null for a run without a result."""
    gate_failures: list[str]
    """Why gates fail."""
    metrics: dict[str, float | None]
    """The metrics of quality and gates."""
    hardware: str | None
    """What it ran on."""
    user: str | None
    """Who started it."""
    inputs: dict[str, str]
    """For each phase that it needs, the id of the run that it was made from."""
    reused_run_id: str | None
    """The run whose outputs count instead."""
    resumed_from: str | None
    """The interrupted run that it went on from."""
    successor: str | None
    """The run that took its work over."""
    invalidated_by: str | None
    """The run that took its place."""
    quarantined: str | None
    """Why it must not be used."""
    checkpoint: str | None
    """Its newest checkpoint."""
    estimated_seconds: float | None
    """What it was expected to take when it was started."""
    estimated_usd: float | None
    """What it was expected to cost."""
    saved_seconds: float | None
    """Of a reuse: what the reused run took."""
    saved_usd: float | None
    """Of a reuse: what the reused run cost."""
    answer: str | None
    """The letter of the option that was chosen when it asked."""
    answered_by: str | None
    """Who chose it."""
    answered_at: datetime | None
    """When."""
    parameters: dict[str, str]
    """Its parameters as text."""


class InputRun(_Fields):
    """One end of an input."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of that."""
    completed_at: datetime | None
    """When it completed; null when it was deleted since."""


class Input(_Fields):
    """Whether a phase was made from the latest of what it needs."""

    need: str
    """The phase before it."""
    matches: bool | None
    """Whether both runs below gave the same bytes; null when there are no two to compare."""
    used: InputRun | None
    """The run that the phase's run was made from."""
    latest: InputRun | None
    """The run that it would be made from now."""
    sentence: str
    """The same in words."""


class SupersededRun(_Fields):
    """A finished run that no longer counts when something is run again."""

    phase: str
    """Its phase."""
    run_id: str
    """The run."""
    quality: float | None
    """How good it is."""
    metric: str
    """The metric of that; empty for a phase without quality."""
    finished_at: datetime | None
    """When it completed."""
    duration_seconds: float | None
    """What it took."""
    cost_usd: float | None
    """What it cost."""
    sentence: str
    """The same in words."""


class Mend(_Fields):
    """What it takes to bring something up to date."""

    phases: list[str]
    """What to run, in order."""
    seconds: float | None
    """What that takes, from earlier runs; null when none tells."""
    cost_usd: float | None
    """What that costs."""
    would_lose: list[SupersededRun]
    """The good runs that no longer count then."""
    command: str
    """What to type."""
    summary: str
    """The same in words, the superseded counted."""
    sentence: str
    """The same in words, the superseded listed."""


class Live(_Fields):
    """How far a run is that has not ended, by its last heartbeat."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of that."""
    phase: str
    """Its phase."""
    state: Literal["running", "quiet", "stuck", "stopped", "interrupted", "waiting", "asking"]
    """What it does: `quiet` is busy without a step for long, `stuck` idle without one, `stopped` stands still."""
    sentence: str
    """The same in words."""
    step: float | None
    """The last step that was finished."""
    total: float | None
    """How many there are."""
    seconds_per_step: float | None
    """How long a step takes."""
    steps_per_second: float | None
    """The same the other way round."""
    eta_seconds: float | None
    """How long the rest takes."""
    heartbeat_age_seconds: float | None
    """When it was last heard."""
    process_percent: float | None
    """The CPU time of its process, in percent of one core."""
    cpu_percent: float | None
    """The CPU time of the machine."""
    memory_percent: float | None
    """The memory of the machine that is in use."""
    gpu_percent: float | None
    """How busy the GPUs are."""
    gpu_memory_percent: float | None
    """The memory of the GPUs that is in use."""
    host: str | None
    """The machine."""
    started_at: datetime | None
    """When it was started."""


class Option(_Fields):
    """One answer to a question."""

    letter: str
    """What to answer."""
    decide: str
    """The same for `-P decide=`."""
    title: str
    """What it does."""
    price: str
    """What that takes and costs, in words."""
    keeps: list[str]
    """What stays."""
    throws_away: list[SupersededRun]
    """What no longer counts then."""
    not_listed: int
    """How many more that are, beyond those listed."""
    reruns: list[str]
    """The phases that are computed."""
    seconds: float | None
    """What that takes."""
    cost_usd: float | None
    """What that costs."""
    command: str
    """What to type when no process waits for the answer any more."""


class Question(_Fields):
    """A question that is open."""

    run_id: str
    """The run that asks."""
    short: str
    """The first eight characters of that."""
    phase: str
    """Its phase."""
    experiment_id: str
    """Its experiment."""
    kind: str
    """The rule that asks."""
    asked_at: datetime | None
    """When it was asked."""
    waiting: bool
    """Whether its process waits for the answer; if not, only a new start helps."""
    user: str | None
    """Who started it."""
    reasons: list[str]
    """Why it asks."""
    options: list[Option]
    """What can be answered."""


class Phase(_Fields):
    """One phase of the project."""

    phase: str
    """Its name."""
    needs: list[str]
    """The phases whose outputs it takes."""
    state: PhaseStateName
    """How it stands."""
    label: str
    """The same with run and time, in words."""
    remarks: list[str]
    """Why, in sentences."""
    quality: Quality | None
    """How good its result is; null for a phase without quality."""
    gates: list[Gate]
    """Its gates."""
    run: Run | None
    """Its newest run that counts; failing that the newest; null when it was never run."""
    inputs: list[Input]
    """Whether it matches the phases before it."""
    mend: Mend | None
    """What it takes to bring it up to date; null when nothing is needed."""
    live: Live | None
    """What goes on now; null when nothing does."""


class Summary(_Fields):
    """The whole in a few words."""

    sentence: str
    """How many phases are up to date, which are not, what to do."""
    up_to_date: int
    """How many phases are up to date."""
    stale: list[str]
    """The phases that are stale or invalidated."""
    states: dict[str, list[str]]
    """The phases by state."""
    mend: Mend | None
    """What it takes to make all phases up to date."""


class State(_Fields):
    """The state of all phases of a project in an experiment. Times are ISO 8601 with offset; seconds; US dollars."""

    schema_version: Literal[1]
    """The version of this description."""
    at: datetime
    """When it was read."""
    experiment: Experiment
    """The experiment."""
    project: Project
    """The project."""
    phases: list[Phase]
    """The phases, each after those that it needs."""
    questions: list[Question]
    """The open questions."""
    summary: Summary
    """The whole in a few words."""


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of `state.json`."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **State.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
