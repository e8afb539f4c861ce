"""Ending a process and everything that it started."""

import signal
from contextlib import suppress

import psutil

from mlflow_plugin.machine.liveness import SHELLS

_CTRL_C_SECONDS = 0.5
_LEFT_BEHIND_SECONDS = 10.0


def stop_process_tree(pid: int, patience_seconds: float = 10.0, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask a process to end, then everything that it started, and kill the rest; at once on a second Ctrl-C.

    Args:
        pid: The process.
        patience_seconds: Seconds that it is given.
        number: The signal that asks.
    """
    try:
        family = [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]
        foremost = _foremost(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return
    try:
        # Ctrl-C reaches them as well; a process that receives it first can tell it from other signals.
        psutil.wait_procs(family, timeout=_CTRL_C_SECONDS)
        # A phase needs its data loaders to finish the step, and ends them itself.
        _signal(foremost, number)
        psutil.wait_procs(foremost, timeout=patience_seconds)
        _signal(family, signal.SIGTERM)
        psutil.wait_procs(family, timeout=min(patience_seconds, _LEFT_BEHIND_SECONDS))
    finally:
        _signal(family, signal.SIGKILL)


def _foremost(process: psutil.Process) -> list[psutil.Process]:
    """Return a process and, for a shell, its children: a shell passes no signal on."""
    try:
        started = process.children() if process.name() in SHELLS else []
    except psutil.Error:
        started = []
    return [*(one for child in started for one in _foremost(child)), process]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
