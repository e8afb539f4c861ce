"""Decide after which steps to save a checkpoint. Pure arithmetic.

Own code because Young's and Daly's optimal intervals (Young, CACM 17(9), 1974, sqrt(2 * save time * mean time between
failures); Daly, FGCS 22(3), 2006) need the rate of failures, which is unknown for a workstation or a spot instance.
These rules bound instead what a failure costs (10 minutes of work) and what saving costs (2% of the time).
"""

from dataclasses import dataclass

from mlflow_plugin.errors import UsageError

_SHORT_SECONDS = 10 * 60.0
_LONG_SECONDS = 30 * 60.0
_MIN_INTERVAL_SECONDS = 10.0
_MAX_LOST_SECONDS = 10 * 60.0
_MAX_SHARE_OF_TIME = 0.02
_STEPS_OF_MEDIUM_RUN = 10
_STEPS_OF_LONG_RUN = 5


@dataclass(frozen=True)
class CheckpointSchedule:
    """Decide after each step whether a checkpoint is due.

    Runs that take less than 10 minutes, or an unknown time: each step. From 10 to 30 minutes: every 10 steps. Above:
    every 5 steps. When the last save is 10 minutes ago, each step. No two saves lie within 10 s. A save that would
    raise the share of time spent in saving above 2% waits for the next such step. An explicit `every` replaces all of
    these rules.

    Args:
        expected_seconds: Expected duration of the whole run in seconds, None when unknown.
        every: Steps between two checkpoints, from 1.

    Raises:
        UsageError: `every` is below 1.
    """

    expected_seconds: float | None = None
    every: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise UsageError(f"`every` must be at least 1 step, got {self.every}.")

    def due(self, step: int, now: float, last_saved_at: float, last_cost_seconds: float) -> bool:
        """Return whether to save a checkpoint now.

        Args:
            step: The number of completed steps.
            now: The time in seconds, by a monotonic clock.
            last_saved_at: The time of the last checkpoint, or else of the start, by the same clock.
            last_cost_seconds: How long the last checkpoint delayed the loop, 0 before the first.
        """
        if step < 1:
            return False
        if self.every is not None:
            return step % self.every == 0
        since_save = now - last_saved_at
        if since_save < _MIN_INTERVAL_SECONDS or last_cost_seconds > _MAX_SHARE_OF_TIME * since_save:
            return False
        if self.expected_seconds is None or self.expected_seconds < _SHORT_SECONDS:
            return True
        steps = _STEPS_OF_LONG_RUN if self.expected_seconds > _LONG_SECONDS else _STEPS_OF_MEDIUM_RUN
        return step % steps == 0 or since_save >= _MAX_LOST_SECONDS
