"""kill -9 at random moments of saving and of going on: at calls, at lines, by the clock."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.nightly.faults.points import Fault, Point
from tests.nightly.faults.training import Reference, Training
from tests.servers.process import wait_until
from tests.servers.stores import Store

KINDS = ("call", "line", "clock")
_CRASHES = (1, 1, 2, 3)


@dataclass
class Tally:
    """The outcome of the trials on one store."""

    trials: int = 0
    kills: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    reused: int = 0
    resumed: int = 0
    anew: int = 0
    done_again: int = 0
    failures: list[str] = field(default_factory=list)

    def failed(self, promise: str) -> int:
        return sum(promise in failure for failure in self.failures)


def kill_trial(store: Store, folder: Path, reference: Reference, rng: Random, tally: Tally) -> None:
    """Kill a training one to three times, then let it finish. Raises AssertionError when a promise was broken."""
    training = Training(store, folder, reference)
    tally.trials += 1
    for crash in range(rng.choice(_CRASHES)):
        kind = rng.choice(KINDS)
        killed = _killed(training, kind, rng, resuming=crash > 0)
        training.judge()
        tally.kills[kind] += killed
        if training.last.finished:
            break
    before = max((step for execution in training.executions for step in execution.steps), default=0)
    finished = training.finish()
    if not finished.steps:
        tally.reused += 1  # What was killed was complete, all but its process.
        return
    first = min(finished.steps)
    tally.resumed += first > 0
    tally.anew += first == 0
    tally.done_again += max(0, before + 1 - first)


def _killed(training: Training, kind: str, rng: Random, resuming: bool) -> bool:
    """Start an execution that is killed; False when it ended before."""
    reference = training.reference
    assert reference is not None
    if kind == "clock":
        execution = training.start()
        if resuming and rng.random() < 0.5:
            time.sleep(rng.uniform(0, 1.2 * reference.starting))
        else:
            wait_until(lambda: execution.steps or execution.process.exitcode is not None, "the first step", pause=0.001)
            time.sleep(rng.uniform(0, 1.2 * reference.training))
        execution.process.kill()
    else:
        execution = training.start(Fault(draw(reference.resumed_points if resuming else reference.points, kind, rng)))
    code = execution.wait()
    assert code in (0, -9), f"it ended with {code}: {execution.text[-3000:]}"
    return code == -9


def draw(points: Mapping[str, int], kind: str, rng: Random) -> Point:
    """A function or line that is passed, rather one of every save than one of the start, and one of its times."""
    names = sorted(name for name in points if (".py:" in name) == (kind == "line"))
    (where,) = rng.choices(names, [min(points[name], 4) for name in names])
    return Point(where, rng.randint(1, points[where]), after=kind == "call" and rng.random() < 0.5)
