"""One execution of the training script, in a process forked from one that has imported everything: a tenth of what
`mlflow run` takes.
"""

import ctypes
import faulthandler
import os
import runpy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.nightly.faults.points import Fault, arm, count_points

PROJECT = Path(__file__).parent / "project"
_PRELOADED = [
    "torch",
    "safetensors.torch",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow_plugin.phase.start",
]
_PRELOADED += ["mlflow_plugin.phase.active", "boto3", "tests.nightly.faults.child"]


@dataclass(frozen=True)
class Settings:
    """How the script is executed. `folder` gets its report and what it prints; with `counting` also `points.json`.

    `ordinary` makes it subject to the permissions of files, also when this is root.
    """

    folder: Path
    variables: Mapping[str, str]
    parameters: Mapping[str, int]
    fault: Fault | None = None
    counting: bool = False
    ordinary: bool = False


def start(settings: Settings) -> BaseProcess:
    """Start it beside this process. The exit code is the script's own, or minus the signal that ended it."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=execute, args=(settings,), daemon=True)
    process.start()
    return process


def execute(settings: Settings) -> None:
    """The child: becomes the script."""
    output = os.open(settings.folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(settings.variables, MLFLOW_TESTS_REPORT=str(settings.folder / "report.jsonl"))
    os.chdir(PROJECT)
    sys.argv = [
        "train.py",
        *(word for name, value in settings.parameters.items() for word in (f"--{name}", str(value))),
    ]
    if settings.ordinary:
        _obey_permissions()
    if settings.fault:
        arm(settings.fault)
    written = count_points(settings.folder / "points.json") if settings.counting else None
    try:
        runpy.run_path("train.py", run_name="__main__")
    finally:
        if written:
            written()
        sys.stdout.flush()


def _obey_permissions() -> None:
    """Give up root's right to pass over the permissions of files, for this process and its threads."""
    override, search = 1, 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the upper halves
    if libc.capget(header, sets) or libc.capset(header, _without(sets, override, search)):
        raise OSError(ctypes.get_errno(), "capset")


def _without(sets: "ctypes.Array[ctypes.c_uint32]", *capabilities: int) -> "ctypes.Array[ctypes.c_uint32]":
    for capability in capabilities:
        sets[0] &= ~(1 << capability)
    return sets
