"""Choose the number of threads for linear algebra in torch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

SMALL = 512
"""Matrices with at most this many rows are computed by one thread."""


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Use one thread inside the block when `size` is at most SMALL, for the whole process.

    A second thread gains nothing on small matrices. On a busy machine the threads wait for each other at every step,
    which takes up to 20 times as long.

    Args:
        size: The number of rows of the matrices.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if size <= SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def leave_busy_cores_alone() -> int:
    """Limit torch to as many threads as cores are idle now, at least one, and return the number.

    Does nothing when OMP_NUM_THREADS is set. On a busy machine a model that uses every core is several times slower
    than on one core.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        free = (1 - psutil.cpu_percent(interval=0.3) / 100) * (psutil.cpu_count() or 1)
        torch.set_num_threads(max(1, min(torch.get_num_threads(), round(free))))
    return torch.get_num_threads()
