"""The state of a whole pipeline: the content of `state.json`."""

from typing import Literal

from mlflow_plugin.project.vocabulary import State
from mlflow_plugin.reports.models.fields import Fields, Moment
from mlflow_plugin.reports.models.live import Live
from mlflow_plugin.reports.models.question import Question
from mlflow_plugin.reports.models.run import Gate, Quality, Run, SupersededRun


class Experiment(Fields):
    """The MLflow experiment."""

    id: str
    """Its id in the tracking store; empty when it does not exist yet."""
    name: str | None
    """Its name."""


class Pipeline(Fields):
    """An entry point that runs several phases."""

    name: str
    """The entry point."""
    targets: list[str]
    """The phases that it runs, together with all that they need."""


class Project(Fields):
    """The declarations of the MLproject file."""

    name: str
    """The project."""
    pipelines: list[Pipeline]
    """Its pipelines."""


class InputRun(Fields):
    """One of the two runs of an input."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of the id."""
    completed_at: Moment | None
    """The time at which it completed; null when it was deleted since."""


class Input(Fields):
    """An input of a phase: the run that was used against the latest one."""

    need: str
    """The phase that the input comes from."""
    matches: bool | None
    """True when both runs below gave the same bytes; null when there are no two to compare."""
    used: InputRun | None
    """The run that the phase's run was made from."""
    latest: InputRun | None
    """The run that it would be made from now."""
    sentence: str
    """The same in words."""


class UpdatePlan(Fields):
    """The way to bring something up to date."""

    phases: list[str]
    """The phases to run, in order."""
    seconds: float | None
    """The time that this takes, from earlier runs; null without an earlier run."""
    cost_usd: float | None
    """The cost of it."""
    superseded: list[SupersededRun]
    """The good runs that no longer count then."""
    command: str
    """The command to type."""
    summary: str
    """The plan in words, with the number of superseded runs."""
    sentence: str
    """The plan in words, with the superseded runs listed."""


class MatrixRun(Fields):
    """One run of a set."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of the id."""
    values: str
    """Its values, such as `seed=0`."""
    quality: float | None
    """Its quality; null when it is not known."""


class Matrix(Fields):
    """The set of runs of a phase with a matrix."""

    count: int
    """The number of runs that were asked for."""
    runs: list[MatrixRun]
    """The good ones of them, in the order of the matrix."""


class Phase(Fields):
    """One phase of the project."""

    phase: str
    """Its name."""
    needs: list[str]
    """The phases whose outputs it takes."""
    state: State
    """Its state."""
    label: str
    """The state with run and time, in words."""
    remarks: list[str]
    """The reasons for the state, in sentences."""
    quality: Quality | None
    """The quality of its result; null for a phase without quality."""
    gates: list[Gate]
    """Its gates."""
    run: Run | None
    """Its newest run that counts; without one, the newest; null when it was never run."""
    inputs: list[Input]
    """Its inputs, compared with the phases before it."""
    update: UpdatePlan | None
    """The way to bring it up to date; null when nothing is needed."""
    live: Live | None
    """Its run that has not ended; null when there is none."""
    matrix: Matrix | None
    """Its set of runs; null for a phase without a matrix."""


class Summary(Fields):
    """The whole pipeline in a few words."""

    sentence: str
    """The number of phases that are up to date, the states of the others, and the plan."""
    up_to_date: int
    """The number of phases that are up to date."""
    stale: list[str]
    """The phases that are stale or invalidated."""
    states: dict[State, list[str]]
    """The phases by state."""
    update: UpdatePlan | None
    """The way to bring all phases up to date; null when nothing is needed."""


class PipelineState(Fields):
    """The state of all phases of a project in an experiment. Times are ISO 8601 with offset; seconds; US dollars."""

    schema_version: Literal[1]
    """The version of this description."""
    at: Moment
    """The time at which it was read."""
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
