"""Start and watch two confined child processes: one for the solution, one for its tests."""

import json
import os
import selectors
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_plugin.errors import PhaseError
from projects_common.sandbox.child import channel, namespaces, runner

PACKAGE = Path(__file__).resolve().parents[2]
# By this import the code of the child counts as code of the phases that grade with it.
_START = f"import sys; sys.path.insert(0, sys.argv[1]); from {runner.__name__} import main; main()"
_LOOK_EVERY_SECONDS = 0.05
_SHOWN = 500


@dataclass(frozen=True)
class Limits:
    """The limits of one program.

    Attributes:
        seconds: CPU time.
        wall_seconds: Elapsed time. Large, for programs that wait: a right one must not fail because the machine is
            busy.
        start_seconds: Elapsed time until the code begins.
        memory: Bytes.
        output: Bytes printed.
        scratch: Bytes of all its files.
        threads: Threads at once.
    """

    seconds: float = 10.0
    wall_seconds: float = 60.0
    start_seconds: float = 120.0
    memory: int = 512 * 2**20
    output: int = 2**20
    scratch: int = 8 * 2**20
    threads: int = 64


@dataclass
class Children:
    """The process of the tests, which has started that of the solution, and their output so far.

    Attributes:
        began: The time by the monotonic clock when it was started; later, when the code began.
    """

    process: subprocess.Popen[bytes]
    report: int
    scratches: Sequence[str]
    began: float
    printed: int = 0
    printed_end: bytes = b""
    reported: bytes = b""

    def messages(self) -> list[dict[str, Any]]:
        """Return what the tests have reported, as far as it is complete: how they are confined, then their result."""
        found, left = [], self.reported
        while len(left) >= 4 and len(left) >= (end := 4 + int.from_bytes(left[:4], "big")):
            found.append(json.loads(left[4:end]))
            left = left[end:]
        return found

    def watch(self, limits: Limits) -> str:
        """Read the output until the tests have ended; return why all has to be stopped before that, or ""."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout.fileno(), selectors.EVENT_READ)
            selector.register(self.report, selectors.EVENT_READ)
            looked = self.began
            while True:
                for key, _ in selector.select(_LOOK_EVERY_SECONDS) if selector.get_map() else ():
                    if not self._read(key.fd):
                        selector.unregister(key.fd)
                if self.report not in selector.get_map() and self._has_ended():
                    return ""
                now = time.monotonic()
                if now - self.began > (limits.wall_seconds if self.reported else limits.start_seconds):
                    return "timeout"
                if self.printed > limits.output:
                    return f"printed more than {limits.output} bytes"
                if now - looked >= _LOOK_EVERY_SECONDS:
                    looked = now
                    if exceeded := self._exceeded(limits):
                        return exceeded
                if not selector.get_map():
                    time.sleep(0.002)  # The tests are about to end.

    def _read(self, descriptor: int) -> bool:
        """Read the available output; return False at the end. All of it is counted, only its end is kept."""
        content = os.read(descriptor, 65536)
        if descriptor == self.report:
            self.began = self.began if self.reported else time.monotonic()
            self.reported += content
        else:
            self.printed += len(content)
            self.printed_end = (self.printed_end + content)[-_SHOWN:]
        return bool(content)

    def _has_ended(self) -> bool:
        """Tell if the process has ended. It stays unreaped if possible: its group can still be killed by number."""
        if hasattr(os, "waitid"):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return self.process.poll() is not None

    def _exceeded(self, limits: Limits) -> str:
        """Return the limit that a process exceeds and the kernel does not hold by itself, "" if none."""
        for begun in self.messages()[:1]:
            for process, scratch in zip((begun["solution"], self.process.pid), self.scratches, strict=True):
                bounded = namespaces.NAME in begun["confined_by"]
                if not bounded and _size(scratch) + _size_without_name(process, limits.scratch) > limits.scratch:
                    return f"wrote more than {limits.scratch} bytes of files"
                state, threads = _state(process)
                if threads > limits.threads:
                    return f"started more than {limits.threads} threads"
                if state == "T":
                    return "stopped itself"
        return ""


@contextmanager
def started(request: Mapping[str, Any], tests: Mapping[str, Any]) -> Iterator[Children]:
    """Yield the processes with their requests. They are killed at the end.

    Args:
        request: The confinement and the solution.
        tests: The tests, which the solution's process must not see.

    Raises:
        PhaseError: No process can be started.
    """
    command = [sys.executable, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", _START, str(PACKAGE)]
    try:
        read, write = os.pipe()
    except OSError as error:
        raise _not_started(error) from None
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            pass_fds=[write],
            start_new_session=True,
        )
    except OSError as error:
        os.close(read)
        raise _not_started(error) from None
    finally:
        os.close(write)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with suppress(channel.ClosedError), process.stdin as stdin:
            for message in ({**request, "report": write}, tests):
                channel.send(stdin.fileno(), message)
        yield Children(process, read, (request["scratch_of_solution"], request["scratch_of_tests"]), time.monotonic())
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        os.close(read)


def _not_started(error: OSError) -> PhaseError:
    return PhaseError(f"no process could be started to run code in: {error}. Close other programs.")


def _size(folder: str) -> int:
    """Return the bytes of the files in a folder, an empty one counted as 4096."""
    total = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                total += max(4096, entry.stat(follow_symlinks=False).st_size)
    return total


def _size_without_name(process: int, most: int) -> int:
    """Return the bytes of removed files that a process holds, on Linux. One that is only mapped may have `most`."""
    sizes = dict[int, int]()
    with suppress(OSError):
        for name in os.listdir(f"/proc/{process}/fd"):
            with suppress(OSError):
                found = os.stat(f"/proc/{process}/fd/{name}")
                if stat.S_ISREG(found.st_mode) and not found.st_nlink:
                    sizes[found.st_ino] = max(4096, found.st_size)
    with suppress(OSError), open(f"/proc/{process}/maps", "rb") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if fields[-1].endswith(b"(deleted)\n"):
                sizes.setdefault(int(fields[4]), most + 1)
    return sum(sizes.values())


def _state(process: int) -> tuple[str, int]:
    """Return the state of a process as Linux names it and the number of its threads; ("", 0) elsewhere."""
    try:
        with open(f"/proc/{process}/stat", "rb") as stream:
            fields = stream.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[17])
    except (OSError, IndexError, ValueError):
        return "", 0
