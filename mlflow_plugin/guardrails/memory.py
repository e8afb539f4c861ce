"""When memory runs out: tells it from other errors, gives memory back, and goes on with a smaller batch.

`BatchSize` repeats one training step. `accelerate.utils.find_executable_batch_size`, which inspired it, repeats the
whole training, and does not make up for the smaller batch. Nothing here imports torch; it is used when it is there.
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
"""What libraries say in a RuntimeError for want of memory, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, NumPy's or torch's, on the CPU or an accelerator."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, getattr(torch, "OutOfMemoryError", ())):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)


def free_memory(*, tell: bool = True) -> int:
    """Collects what nobody refers to any more and hands cached accelerator memory back; returns how many bytes that
    gave, and says so where it is told to.

    Memory that a live exception's traceback holds is not freed: leave its `except` block first.
    """
    before = _used_bytes()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None:
        for backend in (torch.cuda, getattr(torch, "mps", None), getattr(torch, "xpu", None)):
            # An accelerator that has failed for good says so at the next step, with a better message.
            with suppress(RuntimeError, AttributeError, AssertionError):
                if backend is not None and backend.is_available():
                    backend.synchronize()
                    backend.empty_cache()
    freed = max(0, before - _used_bytes())
    if tell:
        _logger.warning(f"memory freed: {freed / 2**20:,.0f} MiB")
    return freed


def _used_bytes() -> int:
    """Memory of this process: resident, and reserved by torch on all GPUs."""
    import psutil

    used = int(psutil.Process().memory_info().rss)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        used += sum(torch.cuda.memory_reserved(device) for device in range(torch.cuda.device_count()))
    return used


class BatchSize:
    """How many samples are computed at once, and how many times in a row, for one step of training.

    Starts with `size` samples, `accumulation` times. Whenever a step runs out of memory, `size` is halved and
    `accumulation` doubled, so that a step still sees `total` samples (where halves are not whole: as many as are needed
    for that). `changed(batch)` is called then. Put the object into the state of the loop, and a resumed run begins with
    the size that the interrupted one had found. Raises UsageError for sizes below 1.
    """

    def __init__(
        self,
        size: int,
        accumulation: int = 1,
        changed: Callable[["BatchSize"], object] | None = None,
        label: str = "training",
    ) -> None:
        if size < 1 or accumulation < 1:
            raise UsageError(f"{label}: a batch of {size} samples {accumulation} times cannot be; both count from 1.")
        self.size, self.accumulation = size, accumulation
        self.total = size * accumulation
        self._changed, self._label = changed, label

    def fit(self, step: Callable[[int, int], _Result]) -> _Result:
        """The result of `step(size, accumulation)`, called again with smaller batches until memory suffices.

        `step` does one whole step on the same `total` samples, whatever their division: it sets the gradients to zero,
        adds up those of each part, weighted by the part's share (see `parts`), and lets the optimizer act, once, at its
        end. What it has changed before that must not matter when it is called again. Python's, NumPy's and torch's
        global random states are put back in between. Raises PhaseError when a single sample does not fit.
        """
        from mlflow_plugin.checkpoints.state import capture_random_state, restore_random_state

        while True:
            random_state = capture_random_state()
            try:
                return step(self.size, self.accumulation)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                what = " ".join(str(error).split())[:200] or type(error).__name__
            # Only here is the exception gone, and with its traceback the tensors of the step that failed.
            self._shrink(what)
            restore_random_state(random_state)

    def parts(self, count: int | None = None) -> Iterator[tuple[slice, float]]:
        """The parts of `count` samples (default `total`) in order, each as a slice and its share of them, from 0 to 1.

        A loss that is a mean over its samples has to be multiplied by the share before `backward()`: then the gradients
        add up to those of all samples at once.
        """
        samples = self.total if count is None else count
        for start in range(0, samples, self.size):
            end = min(start + self.size, samples)
            yield slice(start, end), (end - start) / samples

    def _shrink(self, what: str) -> None:
        freed = free_memory()
        if self.size == 1:
            raise PhaseError(
                f"{self._label}: out of memory with a single sample ({what}), after {freed / 2**20:,.0f} MiB "
                "were freed. Use shorter sequences, gradient checkpointing, lower precision or a smaller model, or end "
                "what else uses this memory. Then run the phase again."
            )
        self.size = (self.size + 1) // 2
        self.accumulation = -(-self.total // self.size)
        _logger.warning(
            f"{self._label}: out of memory; going on with {self.size} samples at once, {self.accumulation} times a "
            f"step ({what})"
        )
        if self._changed is not None:
            self._changed(self)

    def state_dict(self) -> dict[str, int]:
        return {"size": self.size, "accumulation": self.accumulation, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.size, self.accumulation, self.total = state["size"], state["accumulation"], state["total"]
