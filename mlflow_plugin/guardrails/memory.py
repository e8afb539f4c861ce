"""Recover when memory runs out: recognize the error, free memory, and continue with a smaller batch.

Own code because `accelerate.utils.find_executable_batch_size`, which inspired `BatchSize`, repeats the whole training
with another effective batch size. `BatchSize` repeats one training step with the same samples. Nothing here imports
torch; torch is used when something else has imported it.
"""

import errno
import gc
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from mlflow_plugin.errors import PhaseError, UsageError

_logger = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_MESSAGES = (
    "out of memory",  # CUDA, HIP, XPU and MPS
    "can't allocate memory",  # torch on the CPU; Linux
    "not enough memory",  # torch on the CPU; Windows
    "failed to allocate",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
    "unable to find a valid cudnn algorithm",
    "bad_alloc",
)
"""Texts in a RuntimeError, in lower case, by which libraries report that memory ran out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of Python, NumPy or torch says that memory ran out, on the CPU or an accelerator.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")), is_out_of_memory(ValueError())
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, getattr(torch, "OutOfMemoryError", ())):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


def free_memory(*, tell: bool = True) -> int:
    """Collect unreferenced objects and release cached accelerator memory.

    A live exception's traceback keeps its tensors alive: leave the `except` block first.

    Args:
        tell: Log how much was freed.

    Returns:
        The freed memory of this process, in bytes: host memory and torch's memory on all GPUs.
    """
    before = _used_bytes()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        for backend in (torch.cuda, getattr(torch, "mps", None), getattr(torch, "xpu", None)):
            # An accelerator that has failed permanently raises a better message at the next step.
            with suppress(RuntimeError, AttributeError, AssertionError):
                if backend is not None and backend.is_available():
                    backend.synchronize()
                    backend.empty_cache()
    freed = max(0, before - _used_bytes())
    if tell:
        _logger.info(f"memory freed: {freed / 2**20:,.0f} MiB")
    return freed


def _used_bytes() -> int:
    """Return the memory of this process in bytes: resident, and reserved by torch on all GPUs."""
    import psutil

    used = int(psutil.Process().memory_info().rss)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        used += sum(torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count()))
    return used


class BatchSize:
    """The batch size and the gradient accumulation of a training step, reduced when memory runs out.

    Whenever a step runs out of memory, `size` is halved (rounded up) and `accumulation` grows so that a step still has
    `total` samples. Put the object into the state of the loop: a resumed run then starts with the size that fits.

    Args:
        size: Samples computed at once, from 1.
        accumulation: Backward passes in one step, from 1.
        changed: Called with this object after each reduction.
        label: Begins each message, for example the phase's name.

    Attributes:
        total: Samples of one step: `size` x `accumulation` as given. It never changes.

    Raises:
        UsageError: A size is below 1.
    """

    def __init__(
        self,
        size: int,
        accumulation: int = 1,
        changed: Callable[["BatchSize"], object] | None = None,
        label: str = "training",
    ) -> None:
        if size < 1 or accumulation < 1:
            raise UsageError(
                f"{label}: `size` and `accumulation` must be at least 1, got size {size} "
                f"and accumulation {accumulation}."
            )
        self.size, self.accumulation = size, accumulation
        self.total = size * accumulation
        self._changed, self._label = changed, label

    def fit(self, step: Callable[[int, int], _Result]) -> _Result:
        """Call `step(size, accumulation)`, again with smaller batches until memory suffices, and return its result.

        The global random states of Python, NumPy and torch are restored before each repetition.

        Args:
            step: One whole training step on the same `total` samples, however they are divided. It zeroes the
                gradients, adds up the gradients of each part, weighted by the part's share (see `parts`), and calls the
                optimizer once at its end. It must be repeatable when it fails before that.

        Raises:
            PhaseError: A single sample does not fit.
        """
        from mlflow_plugin.checkpoints.state import capture_random_state, restore_random_state

        while True:
            random_state = capture_random_state()
            try:
                return step(self.size, self.accumulation)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                cause = " ".join(str(error).split())[:200] or type(error).__name__
            # Outside the except block the exception is gone, and with its traceback the tensors of the failed step.
            self._shrink(cause)
            restore_random_state(random_state)

    def parts(self, count: int | None = None) -> Iterator[tuple[slice, float]]:
        """Divide `count` samples (default `total`) into parts of at most `size`, in order.

        Multiply a mean loss by the part's share before `backward()`. The gradients then add up to those of all samples
        at once.

        Yields:
            The part's slice of the samples, and its share of them, from 0 to 1.

        >>> list(BatchSize(4).parts(6))
        [(slice(0, 4, None), 0.6666666666666666), (slice(4, 6, None), 0.3333333333333333)]
        """
        samples = self.total if count is None else count
        for start in range(0, samples, self.size):
            end = min(start + self.size, samples)
            yield slice(start, end), (end - start) / samples

    def _shrink(self, cause: str) -> None:
        freed = free_memory()
        if self.size == 1:
            raise PhaseError(
                f"{self._label}: out of memory with a single sample ({cause}), after {freed / 2**20:,.0f} MiB "
                "were freed. Use shorter sequences, gradient checkpointing, lower precision or a smaller model, or end "
                "other processes that use this memory. Then run the phase again."
            )
        self.size = (self.size + 1) // 2
        self.accumulation = -(-self.total // self.size)
        _logger.warning(
            f"{self._label}: out of memory; continuing with {self.size} samples at once, {self.accumulation} times a "
            f"step ({cause})"
        )
        if self._changed is not None:
            self._changed(self)

    def state_dict(self) -> dict[str, int]:
        return {"size": self.size, "accumulation": self.accumulation, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.size, self.accumulation, self.total = state["size"], state["accumulation"], state["total"]
