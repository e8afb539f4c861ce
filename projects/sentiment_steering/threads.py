"""How many threads linear algebra may use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 512
"""Largest matrix size that is worked on by one thread."""


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """One thread while matrices of at most SMALL rows are worked on, for the whole process.

    A second thread gains nothing on them, costs up to twenty times as much on a busy machine, where each waits for the
    other at every step, and changes the last bits of the result with the number of cores.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1 if size <= SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
