"""Confine this process, run the solution, then its tests, and report if they passed.

The verdict counts only with the token. The token reaches this process on its standard input, and is written after the
last test to a descriptor that the solution does not know: leaving early or printing "passed" is no way to pass. One
process cannot prevent code made to deceive it, which searches the interpreter's frames and objects for the token,
replaces functions of this module, or returns objects that call themselves equal to everything.
"""

import builtins
import contextlib
import errno
import json
import os
import resource
import signal
import sys
import types
from collections.abc import Mapping
from typing import Any

from projects_common.sandbox.child import audit, landlock, seccomp

_REFUSED = {errno.EPERM, errno.EACCES, errno.ENOSYS}
_LONGEST = 300


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    _end_with_the_parent(request["parent"])
    descriptor = _hide_descriptors(request["report"], request["descriptor"])
    applied = _confine(request)
    write, leave, dumps = os.write, os._exit, json.dumps

    def report(**content: object) -> None:
        write(descriptor, (dumps(content) + "\n").encode())

    report(confined_by=applied)
    status, message = _run(request["source"], request["tests"], request["entry_point"])
    report(status=status, message=message, token=request["token"])
    leave(0)  # Threads that the solution has left behind end here too.


def _end_with_the_parent(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _hide_descriptors(report: int, descriptor: int) -> int:
    """Leave nothing to read, and move the report to a number that was drawn for this child alone."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    if report == descriptor:  # which dup3 refuses
        os.set_inheritable(report, False)
    else:
        os.dup2(report, descriptor, inheritable=False)
        os.close(report)
    return descriptor


def _confine(request: Mapping[str, Any]) -> list[str]:
    """Set limits first, then restrict files, then system calls; return the restrictions that hold."""
    readable, writable = request["readable"], [request["scratch"]]
    os.chdir(request["scratch"])
    limits = {
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_FSIZE: request["file_bytes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: request["cpu_seconds"],
    }
    for limit, value in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS takes none on memory; there may be a lower one already.
            resource.setrlimit(limit, (value, value))
    sys.path[:] = [path for path in sys.path if path != request["package"]]
    files = processes = ""
    if request["kernel"]:
        files, processes = landlock.confine(readable, writable), seccomp.confine()
    inside = "" if files and processes else audit.confine(readable, writable, not processes, not files)
    return [*filter(None, (processes, files, inside)), "resource limits"]


def _run(source: str, tests: str, entry_point: str) -> tuple[str, str]:
    """Run both; return (status, message)."""
    before = dict(vars(builtins))
    execute, compiled, verdict = exec, compile, _verdict  # as they are before the solution can put others there
    if "random" in source + tests:
        import random

        random.seed(0)
    module = types.ModuleType("solution")  # so that dataclasses and the like find where they were defined
    sys.modules["solution"] = module
    try:
        execute(compiled(source, "<solution>", "exec", dont_inherit=True), vars(module))
        # In a namespace of their own: a solution that redefines abs or sorted must not change what its tests mean.
        named = {name: value for name, value in vars(module).items() if name not in before or name == entry_point}
        execute(compiled(tests, "<tests>", "exec", dont_inherit=True), {**named, "__builtins__": before})
    except BaseException as error:
        return verdict(error, tests)
    return "passed", ""


def _verdict(error: BaseException, tests: str) -> tuple[str, str]:
    kind = type(error).__name__[:100]
    try:
        text = " ".join(str(error).split())
    except BaseException:
        text = ""
    if isinstance(error, MemoryError):
        return "memory", "ran out of the memory that it may use"
    said = f"{kind}: {text}" if text else kind
    if isinstance(error, OSError) and error.errno in _REFUSED:
        return "refused", f"tried what is not permitted here: {said}"[:_LONGEST]
    if isinstance(error, SystemExit):
        return "failed", f"ended itself before its tests were passed ({said})"[:_LONGEST]
    where = _line_of_tests(error, tests)
    return "failed", f"{said[:_LONGEST]}{f' in the test: {where}' if where else ''}"


def _line_of_tests(error: BaseException, tests: str) -> str:
    """Return the line of the tests that was running."""
    lines, trace = tests.splitlines(), error.__traceback__
    found = ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>" and 0 < trace.tb_lineno <= len(lines):
            found = lines[trace.tb_lineno - 1].strip()
        trace = trace.tb_next
    return found[:_LONGEST]
