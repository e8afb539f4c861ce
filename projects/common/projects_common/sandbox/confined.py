"""Run Python source that a model wrote, and its tests, in two child processes that can compute and little else.

The solution's process has no network, starts no processes, reads Python's own files only and writes only into a scratch
folder that is removed. Its memory, time, output, threads and files are bounded. The tests run in another process, which
is confined likewise, and ask the solution for values: plain data crosses, and no code of the solution runs where the
result is decided. On Linux the kernel enforces that (namespaces, Landlock, seccomp). Elsewhere an audit hook inside the
children does, which is weaker: `strength` says so.
"""

import functools
import logging
import math
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow_plugin.errors import PhaseError
from projects_common.sandbox import children
from projects_common.sandbox.child import checker, namespaces
from projects_common.sandbox.children import Children, Limits
from projects_common.sandbox.python_files import python_files

__all__ = ["DEFAULT_LIMITS", "Limits", "SandboxResult", "run", "strength"]

_logger = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()
_SHOWN = 500


@dataclass(frozen=True)
class SandboxResult:
    """The result of one program.

    Attributes:
        status: passed, failed (wrong, or an error), timeout, memory, refused (tried something forbidden), crashed, or
            undecided (its tests need more of it than plain data, or cannot run).
        message: Why it did not pass.
        seconds: Elapsed time.
    """

    status: str
    message: str
    seconds: float


@dataclass(frozen=True)
class _Confinement:
    """The way of confining: by the kernel, in namespaces, and the restrictions that a child must report (None: any)."""

    kernel: bool = True
    namespaces: bool = True
    expected: tuple[str, ...] | None = None


def run(
    source: str, tests: str = "", entry_point: str = "", limits: Limits = DEFAULT_LIMITS, given: str = ""
) -> SandboxResult:
    """Run `source`, then in another process `tests`, which see its definitions and raise if it is wrong.

    Args:
        source: The code to test.
        tests: Python that raises if the source is wrong.
        entry_point: The function asked for. Other names of Python's builtins that the source redefines keep their
            meaning in the tests.
        limits: Time, memory, output, threads and files.
        given: Code that came with the task. Its functions mean in the tests what it says, not what the source makes of
            them.

    Raises:
        PhaseError: No child can be started, or one ends before it comes to the code.
    """
    _say_when_weak()
    return _run(source, tests, entry_point, limits, _confinement(), given)[0]


def strength() -> str:
    """Say in words how code is confined on this machine, and which promises do not hold."""
    applied = _confinement().expected or ()
    if not _is_strong(applied):
        return (
            f"confined in part only, by {', '.join(applied)}: this kernel ({platform.system()} {platform.release()}) "
            "does not offer both seccomp and Landlock"
        )
    said = f"confined by the kernel: {', '.join(applied)}"
    if namespaces.NAME in applied:
        return said
    return (
        f"{said}; but without namespaces, which this system refuses: it can learn which files exist and how large "
        "they are, and the limit of its own files is checked every 0.05 s only"
    )


def _is_strong(applied: tuple[str, ...]) -> bool:
    files = namespaces.NAME in applied or any(part.startswith("Landlock") for part in applied)
    return "seccomp" in applied and files


@functools.cache
def _confinement() -> _Confinement:
    """Return the strongest confinement that works here. Every later child must have the same one."""
    for apart in (True, False):
        wanted = _Confinement(namespaces=apart)
        try:
            result, applied = _run("", "", "", DEFAULT_LIMITS, wanted)
        except PhaseError:
            if apart:
                continue
            raise
        if result.status == "passed":
            return _Confinement(namespaces=namespaces.NAME in applied, expected=applied)
    raise PhaseError(
        f"the sandbox for code does not work here: an empty program came back as {result.status} ({result.message}). "
        "Validate without code: test_data=gsm8k."
    )


@functools.cache
def _say_when_weak() -> None:
    applied = _confinement().expected or ()
    if not _is_strong(applied):
        _logger.warning(
            f"ATTENTION: code that a model wrote is {strength()}. Run it in a container or on Linux 5.13 or later."
        )
    elif namespaces.NAME not in applied:
        _logger.warning(f"code that a model wrote is {strength()}.")


def _run(
    source: str, tests: str, entry_point: str, limits: Limits, confinement: _Confinement, given: str = ""
) -> tuple[SandboxResult, tuple[str, ...]]:
    """Return the result, and the restrictions of the solution's process."""
    request = {**_request(limits, confinement), "source": source}
    asked = {"tests": tests, "given": given, "entry_point": entry_point}
    with _scratches() as scratches:
        request["scratch_of_solution"], request["scratch_of_tests"] = scratches
        with children.started(request, asked) as pair:
            stopped = pair.watch(limits)
            seconds = time.monotonic() - pair.began
        messages = pair.messages()
        if not messages:
            output = " ".join(pair.printed_end.decode(errors="replace").split())
            raise PhaseError(
                f"the sandbox for code ended with {pair.process.returncode} before it had begun: {output}. The graded "
                "code is not the cause. Run the same again: it resumes from what is saved."
            )
        result = _judged(pair, stopped, limits, seconds)
    return result, tuple(messages[0]["confined_by"])


@contextmanager
def _scratches() -> Iterator[tuple[str, str]]:
    """Yield two empty folders, which are removed at the end."""
    made: list[str] = []
    try:
        try:
            made += (os.path.realpath(tempfile.mkdtemp(prefix="graded-code-")) for _ in range(2))
        except OSError as error:
            raise PhaseError(f"no folder to run code in can be made: {error}. Make room, or set TMPDIR.") from None
        yield made[0], made[1]
    finally:
        for scratch in made:
            shutil.rmtree(scratch, ignore_errors=True)


def _request(limits: Limits, confinement: _Confinement) -> dict[str, Any]:
    files = python_files()
    return {
        "parent": os.getpid(),
        "package": str(children.PACKAGE),
        "readable": files.readable,
        "mounted": files.mounted,
        "covered": files.covered,
        "memory": limits.memory,
        "cpu_seconds": math.ceil(limits.seconds),
        "file_bytes": limits.scratch,
        "kernel": confinement.kernel,
        "namespaces": confinement.kernel and confinement.namespaces,
        "expected": confinement.expected,
    }


def _judged(pair: Children, stopped: str, limits: Limits, seconds: float) -> SandboxResult:
    """Return the result of processes that have begun, and have ended or been stopped."""
    if stopped == "timeout":
        return SandboxResult("timeout", _too_long(limits), seconds)
    if stopped:
        return SandboxResult("failed", stopped, seconds)
    result = next(iter(pair.messages()[1:]), {"status": checker.ENDED, "code": pair.process.returncode})
    if result["status"] != checker.ENDED:
        return SandboxResult(result["status"], _lasting(result["message"], *pair.scratches), seconds)
    code = int(result["code"])
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and seconds >= limits.seconds):
        return SandboxResult("timeout", _too_long(limits), seconds)
    if code < 0:
        return SandboxResult("crashed", f"ended by signal {-code} ({signal.strsignal(-code)})", seconds)
    return SandboxResult("failed", f"ended itself with exit code {code} before its tests were passed", seconds)


def _too_long(limits: Limits) -> str:
    return f"did not end within {limits.seconds:g} s of CPU time and {limits.wall_seconds:g} s in all"


def _lasting(message: str, *scratches: str) -> str:
    """Remove the parts of a message that differ from run to run, and all that is no text on one line."""
    for scratch in scratches:
        message = message.replace(scratch, "<scratch folder>")
    text = re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x...", message)
    return "".join(character if character.isprintable() else "?" for character in text)[:_SHOWN]
