"""Points in a process where something is made to happen: at the n-th call of a function, or the n-th time that a line
of the saving code is reached.
"""

import json
import os
import pkgutil
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import mlflow_plugin

CALLS = (
    "os:replace",
    "os:rename",
    "os:fsync",
    "os:write",
    "os:open",
    "os:link",
    "os:mkdir",
    "os:unlink",
    "shutil:copyfile",
    "shutil:copy2",
    "pathlib:Path.write_bytes",
    "pathlib:Path.write_text",
    "pathlib:Path.open",
    "mlflow.tracking:MlflowClient.log_artifact",
    "mlflow.tracking:MlflowClient.log_artifacts",
    "mlflow.tracking:MlflowClient.log_text",
    "mlflow.tracking:MlflowClient.log_batch",
    "mlflow.tracking:MlflowClient.set_tag",
    "mlflow.tracking:MlflowClient.set_terminated",
    "requests:Session.send",
    "botocore.client:BaseClient._make_api_call",
    "sqlalchemy.engine.default:DefaultDialect.do_commit",
)
"""The calls that a checkpoint passes on its way into a store, as `module:name`."""

SAVING_CODE = tuple(
    str(Path(mlflow_plugin.__file__).parent / name)
    for name in (
        "checkpoints",
        "phase/active.py",
        "execution/records.py",
        "execution/run_creation.py",
        "store/run_writer.py",
        "store/manifest.py",
    )
)
"""Every line of these is a point."""


@dataclass(frozen=True)
class Point:
    """The `nth` time (from 1) that a function of CALLS is called, just before or just after it; or that a line
    `file:number` is reached.
    """

    where: str
    nth: int
    after: bool = False


@dataclass(frozen=True)
class Fault:
    """The fault at a point: the process kills itself, an OSError of that number is raised (from then on every time),
    or the file `tell` appears, for somebody outside to act on.
    """

    point: Point
    error: int = 0
    tell: str = ""

    def happen(self) -> None:
        if self.tell:
            Path(self.tell).touch()
        elif self.error:
            raise OSError(self.error, os.strerror(self.error))
        else:
            os.kill(os.getpid(), signal.SIGKILL)


def arm(fault: Fault) -> None:
    """Let a fault happen in this process, once its point is reached in whatever thread."""
    if ".py:" in fault.point.where:
        lines = Counter[str]()
        _trace(lambda line: fault.happen() if _reached(lines, line, fault.point) else None)
    else:
        calls = Counter[str]()

        def act(name: str, after: bool) -> None:
            again = bool(fault.error) and calls[name] > fault.point.nth
            if after == fault.point.after and (_reached(calls, name, fault.point) or again):
                fault.happen()

        _wrap(fault.point.where, act)


def _reached(counts: Counter[str], name: str, point: Point) -> bool:
    counts[name] += name == point.where
    return counts[name] == point.nth and name == point.where


def count_points(into: Path) -> Callable[[], None]:
    """Count how often each point is passed from now on; the function returned writes that down, as JSON."""
    counts = Counter[str]()

    def note(name: str, after: bool = False) -> None:
        counts[name] += not after

    for name in CALLS:
        _wrap(name, note)
    _trace(note)
    return lambda: into.write_text(json.dumps(counts))  # type: ignore[return-value]


def _wrap(name: str, act: Callable[[str, bool], None]) -> None:
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner = pkgutil.resolve_name(":".join(filter(None, [module, ".".join(owners)])))
    original = getattr(owner, attribute)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        act(name, False)
        result = original(*arguments, **options)
        act(name, True)
        return result

    setattr(owner, attribute, wrapped)


def _trace(act: Callable[[str], None]) -> None:
    def local(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            act(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return local

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return local if frame.f_code.co_filename.startswith(SAVING_CODE) else None

    threading.settrace(trace)
    sys.settrace(trace)
