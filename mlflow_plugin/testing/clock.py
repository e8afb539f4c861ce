"""Fake the clock of the package."""

import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, tzinfo
from typing import Any
from unittest.mock import patch


class FakeClock:
    """A clock for mlflow_plugin that stands still until it is told to go on.

    Inside `with clock:` the package reads its time and sleeps by it, which is what ages, `max_age` and the patience
    with a silent run go by. The time module itself, MLflow and the project's code keep the real clock.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._now = (now or datetime.now(UTC)).timestamp()
        self._monotonic = time.monotonic()
        self._stack = ExitStack()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._now += seconds
        self._monotonic += seconds

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._now

    def time_ns(self) -> int:
        return int(self._now * 1e9)

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let the time of a sleep pass at once; other threads get their turn."""
        self.advance(seconds)
        time.sleep(0.001)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def __enter__(self) -> "FakeClock":
        now = _datetime_of(self)
        for name, module in list(sys.modules.items()):
            if not name.startswith("mlflow_plugin.") or name.startswith(__package__):
                continue
            if vars(module).get("time") is time:
                self._stack.enter_context(patch.object(module, "time", self))
            if vars(module).get("datetime") is datetime:
                self._stack.enter_context(patch.object(module, "datetime", now))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _datetime_of(clock: FakeClock) -> type[datetime]:
    """Return a `datetime` whose `now` is that of a clock. Every real datetime is an instance of it."""

    class Anything(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, datetime)

    class Now(datetime, metaclass=Anything):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(clock.time(), tz)

    return Now
