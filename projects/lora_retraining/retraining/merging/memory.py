"""Memory that runs out, told as an error that a person can mend."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.guardrails.memory import free_memory, is_out_of_memory


@contextmanager
def memory_told(doing: str) -> Iterator[None]:
    """Turns running out of memory inside the block into a PhaseError; `doing` goes on after "out of memory while"."""
    try:
        yield
        return
    except Exception as error:
        if isinstance(error, PhaseError) or not is_out_of_memory(error):
            raise
        what = " ".join(str(error).split())[:200] or type(error).__name__
    # Only here is the exception gone, and with its traceback what had been allocated.
    free_memory()
    raise PhaseError(
        f"out of memory while {doing} ({what}). End what else uses this memory, or merge on another device "
        "(-P device=cpu, -P device=cuda). Nothing half written is kept."
    )
