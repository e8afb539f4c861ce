"""When to save a checkpoint: the longer a run is expected to take, the more steps are worth saving; pure arithmetic."""

from dataclasses import dataclass

from mlflow_plugin.errors import UsageError

_SHORT_SECONDS = 10 * 60.0
_LONG_SECONDS = 30 * 60.0
_SHORTEST_INTERVAL_SECONDS = 10.0
_MOST_LOST_SECONDS = 10 * 60.0
_LARGEST_SHARE_OF_TIME = 0.02
_STEPS_OF_MEDIUM_RUN = 10
_STEPS_OF_LONG_RUN = 5


@dataclass(frozen=True)
class CheckpointSchedule:
    """Decides after each step whether a checkpoint is due.

    `expected_seconds` is the expected duration of the whole run, None when unknown. Below 10 minutes, or unknown: at
    each step. From 10 to 30 minutes: every 10 steps. Above: every 5 steps. Steps so long that 10 minutes pass between
    two of those are saved one by one; never are two saved within 10 s. A checkpoint that would bring the share of time
    spent in saving above 2% waits for the next such step. An explicit `every`, in steps, replaces all of that.
    Raises UsageError for an `every` below 1.
    """

    expected_seconds: float | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise UsageError(f"Checkpoints every {self.every} steps cannot be: `every` counts steps, from 1.")

    def due(self, step: int, now: float, last_saved_at: float, last_cost_seconds: float) -> bool:
        """Whether to save after `step` steps are done.

        `now` and `last_saved_at` are seconds of one clock, the latter of the last checkpoint or else of the start;
        `last_cost_seconds` is how long the last checkpoint took, 0 before the first.
        """
        if step < 1:
            return False
        if self.every is not None:
            return step % self.every == 0
        since = now - last_saved_at
        if since < _SHORTEST_INTERVAL_SECONDS or last_cost_seconds > _LARGEST_SHARE_OF_TIME * since:
            return False
        if self.expected_seconds is None or self.expected_seconds < _SHORT_SECONDS:
            return True
        steps = _STEPS_OF_LONG_RUN if self.expected_seconds > _LONG_SECONDS else _STEPS_OF_MEDIUM_RUN
        return step % steps == 0 or since >= _MOST_LOST_SECONDS
