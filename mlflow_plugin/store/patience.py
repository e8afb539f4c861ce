"""Patience with a tracking store that is away for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from mlflow.exceptions import MlflowException

from mlflow_plugin.format import describe_duration

T = TypeVar("T")
_logger = logging.getLogger(__name__)

STORE_AWAY_SECONDS = 600.0
"""A store may be away this long before a run that only waits gives up."""
REPORT_EVERY_SECONDS = 10.0


class StoreAway(Exception):
    """The store did not answer this time. Try again after a pause."""


class StorePatience:
    """Read from a store again and again, and give up only when it was away for STORE_AWAY_SECONDS.

    Args:
        label: What is waiting, as the messages say it, for example the phase's name.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._answered = self._reported = time.monotonic()

    def read(self, look: Callable[[], T]) -> T:
        """Return what `look` returns.

        Raises:
            StoreAway: The store did not answer, and there is patience left.
            MlflowException: The store was away for too long, or what is looked for was deleted.
        """
        try:
            answer = look()
        except MlflowException as error:
            now = time.monotonic()
            away = now - self._answered
            if away > STORE_AWAY_SECONDS or error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise
            if now - self._reported > REPORT_EVERY_SECONDS:
                self._reported = now
                duration = describe_duration(away)
                _logger.warning(f"{self._label}: the tracking store does not answer; trying again ({duration})")
            raise StoreAway from error
        self._answered = time.monotonic()
        return answer
