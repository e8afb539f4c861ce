"""Run phases of a pipeline side by side, each in a thread of its own that starts the phase's command."""

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from mlflow.exceptions import MlflowException

from mlflow_plugin.backends.schedule import Capacity, Schedule
from mlflow_plugin.errors import NeedsAnswer, PhaseError, store_trouble
from mlflow_plugin.execution.outcome import Outcome
from mlflow_plugin.machine.hardware import detect_hardware, visible_gpus
from mlflow_plugin.machine.pausing import Stop, stopped_by
from mlflow_plugin.project.project import Phase

__all__ = ["run_side_by_side"]

_logger = logging.getLogger(__name__)

_LOOK_EVERY_SECONDS = 0.2


def run_side_by_side(
    phases: Sequence[Phase],
    jobs: int,
    *,
    keep_going: bool,
    execute: Callable[[Phase, tuple[str, ...] | None], Outcome | None],
    ended: Callable[[Phase, Outcome | None], None],
) -> None:
    """Run phases, each as soon as all that it needs has ended well and the machine has room.

    Args:
        phases: The phases in an order in which each comes after its needs.
        jobs: How many may run at the same time.
        keep_going: When one has failed, those that do not need it are still started.
        execute: Runs one phase, on the GPUs with these names; None leaves them as they are. Called in a thread.
        ended: Called in this thread for each phase that has ended well; an error from it is one of the phase.

    Raises:
        UsageError: A phase needs more than the machine has.
        PhaseError: A phase has failed, or questions stay open. Those that ran beside it have ended by then.
    """
    hardware = detect_hardware()
    capacity = Capacity(hardware.cpu_cores, int(hardware.memory_gib * 2**30), visible_gpus())
    schedule = Schedule(phases, jobs, capacity, keep_going)
    stop, errors = Stop(), dict[str, PhaseError]()
    futures: dict[Future[Outcome | None], Phase] = {}

    def start(phase: Phase, gpus: tuple[str, ...]) -> Outcome | None:
        with stopped_by(stop):
            return execute(phase, gpus if capacity.gpus else None)

    with ThreadPoolExecutor(jobs, thread_name_prefix="phase") as pool:
        try:
            while True:
                for phase, gpus in schedule.startable():
                    futures[pool.submit(copy_context().run, start, phase, gpus)] = phase
                if not futures:
                    break
                finished, _ = wait(futures, timeout=_LOOK_EVERY_SECONDS, return_when=FIRST_COMPLETED)
                for future in finished:
                    phase = futures.pop(future)
                    try:
                        ended(phase, future.result())
                        schedule.ended(phase.name, well=True)
                    except (PhaseError, MlflowException) as error:
                        errors[phase.name] = error if isinstance(error, PhaseError) else store_trouble(error)
                        schedule.ended(phase.name, well=False)
                        _tell(phase, schedule)
        except BaseException as error:
            stop.set(str(error) or "interrupted from the keyboard", getattr(error, "number", signal.SIGTERM))
            raise
    if errors:
        raise _together(errors, schedule.left())


def _tell(phase: Phase, schedule: Schedule) -> None:
    if schedule.running:
        _logger.info(f"{phase.name} has not ended well; {', '.join(schedule.running)} continues")


def _together(errors: Mapping[str, PhaseError], left: Mapping[str, str]) -> PhaseError:
    """Return one error for all phases that did not end well."""
    in_order = sorted(errors.values(), key=lambda error: isinstance(error, NeedsAnswer))
    told = "\n\n".join(map(str, in_order))
    if left:
        waits = ", ".join(f"{name} (after {failed})" for name, failed in left.items())
        told += f"\n\nNot started: {waits}."
    return NeedsAnswer(told) if isinstance(in_order[0], NeedsAnswer) else PhaseError(told)
