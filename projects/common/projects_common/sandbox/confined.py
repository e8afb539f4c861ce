"""Run Python source that a model wrote, in a child process that can compute and little else.

The child has no network, starts no processes, reads Python's own files only and writes only into a scratch folder that
is removed. Its memory, time, output and files are bounded. On Linux the kernel enforces that (seccomp, Landlock).
Elsewhere an audit hook inside the child does, which is weaker: `strength` says so.
"""

import functools
import json
import logging
import math
import os
import platform
import re
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from projects_common.sandbox.child import runner

_logger = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parents[2]
# By this import the code of the child counts as code of the phases that grade with it.
_START = f"import sys; sys.path.insert(0, sys.argv[1]); from {runner.__name__} import main; main()"
_LOOK_EVERY_SECONDS = 0.1
_LONGEST_REPORT = 64 * 1024
_SHOWN = 500


@dataclass(frozen=True)
class Limits:
    """The limits of one program.

    Attributes:
        seconds: CPU time.
        wall_seconds: Elapsed time. Large, for programs that wait: a right one must not fail because the machine is
            busy.
        memory: Bytes.
        output: Bytes printed.
        scratch: Bytes of all its files.
    """

    seconds: float = 10.0
    wall_seconds: float = 60.0
    memory: int = 512 * 2**20
    output: int = 2**20
    scratch: int = 8 * 2**20


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class SandboxResult:
    """The result of one program.

    Attributes:
        status: passed, failed (wrong, or an error), timeout, memory, refused (tried something forbidden) or
            crashed.
        message: Why it did not pass.
        seconds: Elapsed time.
    """

    status: str
    message: str
    seconds: float


@dataclass
class _Child:
    """A running child, and its output so far."""

    process: subprocess.Popen[bytes]
    report: int
    token: str
    began: float
    printed: int = 0
    printed_end: bytes = b""
    reported: bytes = b""

    def messages(self) -> Iterator[dict[str, Any]]:
        for line in self.reported.splitlines():
            with suppress(ValueError):
                content = json.loads(line)
                if isinstance(content, dict):
                    yield content


def run(source: str, tests: str = "", entry_point: str = "", limits: Limits = DEFAULT_LIMITS) -> SandboxResult:
    """Run `source`, then `tests`, which see its definitions and raise if it is wrong.

    Args:
        source: The code to test.
        tests: Python that raises if the source is wrong.
        entry_point: The function asked for. Other names of Python's builtins that the source redefines keep their
            meaning in the tests.
        limits: Time, memory, output and files.

    Raises:
        PhaseError: No child can be started, or one ends before it comes to the code.
    """
    _say_when_weak()
    return _run(source, tests, entry_point, limits, kernel=True)[0]


def strength() -> str:
    """Say in words how code is confined on this machine."""
    applied = _confined_by()
    if _is_strong(applied):
        return f"confined by the kernel: {', '.join(applied)}"
    return (
        f"confined in part only, by {', '.join(applied)}: this kernel ({platform.system()} {platform.release()}) does "
        "not offer both seccomp and Landlock"
    )


def _is_strong(applied: tuple[str, ...]) -> bool:
    return "seccomp" in applied and any(part.startswith("Landlock") for part in applied)


@functools.cache
def _confined_by() -> tuple[str, ...]:
    result, applied = _run("", "", "", DEFAULT_LIMITS, kernel=True)
    if result.status != "passed":
        raise PhaseError(
            f"the sandbox for code does not work here: an empty program came back as {result.status} "
            f"({result.message}). Validate without code: test_data=gsm8k."
        )
    return applied


@functools.cache
def _say_when_weak() -> None:
    if not _is_strong(_confined_by()):
        _logger.warning(
            f"ATTENTION: code that a model wrote is {strength()}. Run it in a container or on Linux 5.13 or later."
        )


def _run(
    source: str, tests: str, entry_point: str, limits: Limits, kernel: bool
) -> tuple[SandboxResult, tuple[str, ...]]:
    """Return the result, and the restrictions of the child."""
    scratch = os.path.realpath(tempfile.mkdtemp(prefix="graded-code-"))
    try:
        with _started(scratch, _request(source, tests, entry_point, limits, scratch, kernel)) as child:
            stopped = _watch(child, limits, scratch)
            seconds = time.monotonic() - child.began
        result = _judged(child, stopped, limits, seconds, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    applied = next((content["confined_by"] for content in child.messages() if "confined_by" in content), ())
    return result, tuple(applied)


def _request(source: str, tests: str, entry_point: str, limits: Limits, scratch: str, kernel: bool) -> dict[str, Any]:
    return {
        "source": source,
        "tests": tests,
        "entry_point": entry_point,
        "parent": os.getpid(),
        "token": secrets.token_hex(16),
        "descriptor": 20 + secrets.randbelow(40),
        "scratch": scratch,
        "package": str(_PACKAGE),
        "readable": _python_files(),
        "memory": limits.memory,
        "cpu_seconds": math.ceil(limits.seconds),
        "file_bytes": limits.scratch,
        "kernel": kernel,
    }


@functools.cache
def _python_files() -> list[str]:
    """Return the standard library, the shared libraries that it loads, and devices that anyone may read."""
    folders = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(os.__file__).parent)}
    folders |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"}
    if library := sysconfig.get_config_var("LIBDIR"):
        folders |= {str(path) for path in Path(library).glob("libpython*")}
    return sorted(folders | {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"})


@contextmanager
def _started(scratch: str, request: dict[str, Any]) -> Iterator[_Child]:
    """Yield the child with its request. It is killed with its whole group at the end."""
    read, write = os.pipe()
    command = [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", _START, str(_PACKAGE)]
    environment = {"HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            pass_fds=[write],
            start_new_session=True,
        )
    except OSError as error:
        os.close(read)
        raise PhaseError(f"no process could be started to run code in: {error}. Close other programs.") from None
    finally:
        os.close(write)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(json.dumps({**request, "report": write}).encode())
        yield _Child(process, read, request["token"], time.monotonic())
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        os.close(read)


def _watch(child: _Child, limits: Limits, scratch: str) -> str:
    """Read the output of the child until it ends; return why it has to be stopped, "" if it ended by itself."""
    assert child.process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(child.process.stdout.fileno(), selectors.EVENT_READ)
        selector.register(child.report, selectors.EVENT_READ)
        looked = child.began
        while True:
            for key, _ in selector.select(_LOOK_EVERY_SECONDS) if selector.get_map() else ():
                if not _read(child, key.fd):
                    selector.unregister(key.fd)
            now = time.monotonic()
            if child.printed > limits.output:
                return f"printed more than {limits.output} bytes"
            if len(child.reported) > _LONGEST_REPORT:
                return "wrote to the result channel"
            if not selector.get_map() and _has_ended(child.process):
                return ""
            if now - child.began > limits.wall_seconds:
                return "" if _has_ended(child.process) else "timeout"
            if now - looked >= _LOOK_EVERY_SECONDS:
                looked = now
                if _exceeds(scratch, limits.scratch):
                    return f"wrote more than {limits.scratch} bytes of files"
            if not selector.get_map():
                time.sleep(0.002)  # It has closed its descriptors and runs on, or is about to end.


def _read(child: _Child, descriptor: int) -> bool:
    """Read the available output; return False at the end. All of it is counted, only its end is kept."""
    content = os.read(descriptor, 65536)
    if descriptor == child.report:
        child.reported += content
    else:
        child.printed += len(content)
        child.printed_end = (child.printed_end + content)[-_SHOWN:]
    return bool(content)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell if the process has ended. It stays unreaped if possible: its group can still be killed by number."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    return process.poll() is not None


def _exceeds(folder: str, limit: int) -> bool:
    """Tell if the files in a folder have more bytes than that, an empty one counted as 4096."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                total += max(4096, entry.stat(follow_symlinks=False).st_size)
            if total > limit:
                return True
    return False


def _lasting(message: str, scratch: str) -> str:
    """Remove the parts of a message that differ from run to run, and those that cannot be written to a file."""
    text = message.replace(scratch, "<scratch folder>").encode(errors="replace").decode()
    return re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x...", text)


def _judged(child: _Child, stopped: str, limits: Limits, seconds: float, scratch: str) -> SandboxResult:
    """Return the result of a child that has ended or is to be stopped. Raise PhaseError if it never reached the
    code.
    """
    code = child.process.wait()
    if not child.reported:
        output = " ".join(child.printed_end.decode(errors="replace").split())
        raise PhaseError(
            f"the sandbox for code ended with {code} before it had begun: {output}. The graded code is not the cause. "
            "Run the same again: it resumes from what is saved."
        )
    too_long = f"did not end within {limits.seconds:g} s of CPU time and {limits.wall_seconds:g} s in all"
    if stopped == "timeout":
        return SandboxResult("timeout", too_long, seconds)
    if stopped:
        return SandboxResult("failed", stopped, seconds)
    for content in child.messages():
        if content.get("token") == child.token:
            return SandboxResult(str(content["status"]), _lasting(str(content["message"]), scratch), seconds)
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and seconds >= limits.seconds):
        return SandboxResult("timeout", too_long, seconds)
    if code < 0:
        return SandboxResult("crashed", f"ended by signal {-code} ({signal.strsignal(-code)})", seconds)
    return SandboxResult("failed", f"ended itself with exit code {code} before its tests were passed", seconds)
