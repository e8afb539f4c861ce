"""Run the scripts of phases in the process of a test, and preempt them."""

import io
import os
import runpy
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mlflow.entities import Run
from mlflow.projects.utils import get_entry_point_command, get_or_create_run
from mlflow.projects.utils import load_project as load_mlflow_project
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import UsageError
from mlflow_plugin.observation.recorder import forget_this_process
from mlflow_plugin.phase.active import ActivePhase


@dataclass(frozen=True)
class PhaseResult:
    """How a phase ended: its run as the store has it, and the exit code of its script (0 also for a reused run)."""

    run: Run
    exit_code: int


def run_phase(project: Path | str, phase: str, *, experiment_id: str = "0", **parameters: object) -> PhaseResult:
    """Run the script of a phase in this process, as `mlflow run PROJECT -e PHASE` does it in another.

    Nobody is there to answer a question: pass `decide="reuse"` or `decide="rerun"`. Modules that the script imports
    from the project are forgotten at the end, so that two projects may have modules of the same name.

    Args:
        project: the folder of the MLproject file.
        phase: the entry point. Its command must be `python SCRIPT ...` or `python -m MODULE ...`.
        experiment_id: the experiment to record the run in.
        parameters: what `-P NAME=VALUE` would give.

    Raises:
        UsageError: the command of the phase is not one of Python.
        Exception: the script raised it. Its run is recorded as failed.
    """
    folder = Path(project).resolve()
    given = {name: str(value) for name, value in parameters.items()}
    (command,) = get_entry_point_command(load_mlflow_project(str(folder)), phase, given, None)
    words = _words_of_python(phase, command)
    run_id = get_or_create_run(None, str(folder), experiment_id, str(folder), None, phase, given).info.run_id
    with _as_a_process_of(folder, run_id, words):
        exit_code = _executed(words)
    return PhaseResult(MlflowClient().get_run(run_id), exit_code)


def _words_of_python(phase: str, command: str) -> list[str]:
    program, *words = shlex.split(command)
    if not Path(program).name.startswith("python") or not words:
        raise UsageError(f"{phase}: only `python SCRIPT` or `python -m MODULE` runs in this process, not `{command}`.")
    return words


def _executed(words: list[str]) -> int:
    """Run a script, or a module, as the main program; return its exit code."""
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@contextmanager
def _as_a_process_of(folder: Path, run_id: str, words: list[str]) -> Iterator[None]:
    """Give this process what a script finds: its folder, arguments and run, and a standard input without a person."""
    forget_this_process()  # Another process would not have read what this one did.
    modules = set(sys.modules)
    arguments = words[1:] if words[0] == "-m" else words
    first = folder if words[0] == "-m" else (folder / words[0]).parent
    with (
        chdir(folder),
        patch.dict(os.environ, {"MLFLOW_RUN_ID": run_id}),
        patch.object(sys, "argv", arguments),
        patch.object(sys, "path", [str(first), *sys.path]),
        patch.object(sys, "stdin", io.StringIO()),
    ):
        try:
            yield
        finally:
            for name in set(sys.modules) - modules:
                if Path(getattr(sys.modules[name], "__file__", None) or os.devnull).is_relative_to(folder):
                    del sys.modules[name]


@contextmanager
def preempted_after(steps: int, number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Send this process the signal of a preemption while a phase inside the block is in a step of its loop.

    The signal comes as that of a cluster does: the phase ends its step, saves a checkpoint and ends as killed. A later
    run resumes from there. It works for loops of `phase.steps` with a state, loops that call `phase.checkpoint_due`,
    and the trainer's callback.

    Args:
        steps: after how many steps of the loop in this process.
        number: SIGTERM, or SIGUSR1 for a warning before the end.

    Raises:
        UsageError: it is called in another thread than the main one, which alone gets signals.
        AssertionError: the block ended before so many steps were done.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("only the main thread gets signals: preempt a phase there.")
    done, original = 0, ActivePhase.checkpoint_due

    def checkpoint_due(phase: ActivePhase, *arguments: Any, **options: Any) -> bool:
        nonlocal done
        done += 1
        if done == steps:
            if signal.getsignal(number) is signal.SIG_DFL:
                raise UsageError(f"{phase.name} does not handle {number.name}, which would end this process.")
            signal.raise_signal(number)
        return original(phase, *arguments, **options)

    with patch.object(ActivePhase, "checkpoint_due", checkpoint_due):
        yield
    assert done >= steps, f"the phase was to be preempted after {steps} steps and did only {done}"
