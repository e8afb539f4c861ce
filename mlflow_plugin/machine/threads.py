"""How many threads linear algebra may use."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

SMALL = 512
"""Largest matrix size that is worked on by one thread."""


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """One thread while matrices of at most SMALL rows are worked on, for the whole process.

    A second thread gains nothing on them, and on a busy machine, where each waits for the other at every step, it costs
    up to twenty times as much.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if size <= SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def leave_busy_cores_alone() -> int:
    """Lets this process use as many threads as cores are free now, at least one, and returns the number.

    OMP_NUM_THREADS, when set, is obeyed. On a busy machine a model on every core is several times slower than on one.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        free = (1 - psutil.cpu_percent(interval=0.3) / 100) * (psutil.cpu_count() or 1)
        torch.set_num_threads(max(1, min(torch.get_num_threads(), round(free))))
    return torch.get_num_threads()
