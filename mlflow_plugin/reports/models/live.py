"""Runs that have not ended, and the answer to a poll."""

from collections.abc import Mapping
from typing import Literal, get_args

from mlflow_plugin.reports.models.fields import Fields, Moment
from mlflow_plugin.reports.models.question import Question

LiveState = Literal["running", "quiet", "stuck", "stopped", "interrupted", "waiting", "asking"]
"""The activity of a run that has not ended."""
LIVE_STATES: Mapping[str, LiveState] = {word: word for word in get_args(LiveState)}


class Live(Fields):
    """The progress of a run that has not ended, by its last heartbeat."""

    run_id: str
    """The run."""
    short: str
    """The first eight characters of the id."""
    phase: str
    """Its phase."""
    state: LiveState
    """Its activity. Without a step for long: `quiet` is busy, `stuck` is idle. `stopped` is a paused process."""
    sentence: str
    """The same in words."""
    step: float | None
    """The last step that was finished."""
    total: float | None
    """The number of steps."""
    seconds_per_step: float | None
    """The time of one step."""
    steps_per_second: float | None
    """The rate."""
    eta_seconds: float | None
    """The time that is left."""
    heartbeat_age_seconds: float | None
    """The age of its last heartbeat; null before the first."""
    process_percent: float | None
    """The CPU time of its process, in percent of one core."""
    cpu_percent: float | None
    """The CPU time of the machine."""
    memory_percent: float | None
    """The memory of the machine that is in use."""
    gpu_percent: float | None
    """The load of the GPUs."""
    gpu_memory_percent: float | None
    """The memory of the GPUs that is in use."""
    host: str | None
    """The machine."""
    started_at: Moment | None
    """The time of its start."""


class LiveView(Fields):
    """The answer to a poll."""

    at: Moment
    """The time at which it was read."""
    running: list[Live]
    """The runs that have not ended, newest first."""
    questions: list[Question]
    """The open questions."""
    stamp: str
    """A text that changes when the pipeline may have changed."""
