"""Which phases of a pipeline may start now. Pure: no clock, no threads, no store."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow_plugin.errors import UsageError
from mlflow_plugin.project.project import Phase

__all__ = ["Capacity", "Schedule"]


@dataclass(frozen=True)
class Capacity:
    """What a machine has: cores, bytes of memory (0 when not known), and its GPUs by the names that CUDA takes."""

    cpus: float
    memory: int = 0
    gpus: tuple[str, ...] = ()


@dataclass
class Schedule:
    """The phases of one pipeline on their way.

    Args:
        phases: The phases in an order in which each comes after its needs.
        jobs: How many may compute at the same time.
        capacity: The machine.
        keep_going: When one has failed, those that do not need it are still started.

    Raises:
        UsageError: One phase needs more than the machine has.
    """

    phases: Sequence[Phase]
    jobs: int
    capacity: Capacity
    keep_going: bool = False
    running: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """The GPUs of each phase that computes now."""
    done: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        has = self.capacity
        for phase in self.phases:
            wanted = phase.resources
            lacking = [
                f"{need:g} {what}, and there {'is' if there == 1 else 'are'} {there:g}"
                for need, there, what in (
                    (wanted.cpus, has.cpus, "cores"),
                    (wanted.gpus, len(has.gpus), "GPUs"),
                    (wanted.memory / 2**30, has.memory / 2**30 if has.memory else float("inf"), "GiB of memory"),
                )
                if need > there
            ]
            if lacking:
                raise UsageError(
                    f"{phase.name} needs {lacking[0]} on this machine. Correct `resources:`, or run it elsewhere."
                )

    def startable(self) -> list[tuple[Phase, tuple[str, ...]]]:
        """Return the phases to start now, each with the GPUs that it gets. They count as running from now on."""
        started: list[tuple[Phase, tuple[str, ...]]] = []
        if self.failed and not self.keep_going:
            return started
        for phase in self.phases:
            begun = phase.name in self.running or phase.name in self.done or phase.name in self.failed
            if begun or not self.done >= set(phase.needs) or not self._fits(phase):
                continue
            taken = {gpu for gpus in self.running.values() for gpu in gpus}
            gpus = tuple(gpu for gpu in self.capacity.gpus if gpu not in taken)[: phase.resources.gpus]
            self.running[phase.name] = gpus
            started.append((phase, gpus))
        return started

    def _fits(self, phase: Phase) -> bool:
        if len(self.running) >= self.jobs:
            return False
        beside = [one.resources for one in self.phases if one.name in self.running]
        wanted = phase.resources
        return (
            sum(one.cpus for one in beside) + wanted.cpus <= self.capacity.cpus
            and sum(one.gpus for one in beside) + wanted.gpus <= len(self.capacity.gpus)
            and (not self.capacity.memory or sum(one.memory for one in beside) + wanted.memory <= self.capacity.memory)
        )

    def ended(self, phase: str, *, well: bool) -> None:
        """Record that a phase has ended."""
        del self.running[phase]
        (self.done if well else self.failed).add(phase)

    def left(self) -> dict[str, str]:
        """Return the phases that were not started and will not be, each with the failed phase that it waits for."""
        left: dict[str, str] = {}
        for phase in self.phases:
            if phase.name in {*self.running, *self.done, *self.failed}:
                continue
            waits = [left.get(need, need) for need in phase.needs if need in self.failed or need in left]
            if waits or (self.failed and not self.keep_going):
                left[phase.name] = waits[0] if waits else sorted(self.failed)[0]
        return left
