"""A server as a child process: started, waited for, stopped."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 300.0
"""Long enough for a machine that does many other things; nothing waits that long when all is well."""


def wait_until(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.05
) -> None:
    """Return as soon as the condition holds. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(pause)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    with ExitStack() as held:
        probes = [held.enter_context(closing(socket.socket())) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


class ServerProcess:
    """A server that writes its log into `folder/NAME.log`. It leads a process group of its own, so that all it started
    can be ended with it.
    """

    def __init__(self, name: str, words: Sequence[str | Path], folder: Path, ready: Callable[[], bool]) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self._words, self._folder, self._ready = words, folder, ready
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def start(self, variables: Mapping[str, str] | None = None, **options: Any) -> None:
        """Start it and wait until it is ready. Raises AssertionError with its log when it ends or never is."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self._words],
                cwd=self._folder,
                env={**os.environ, **(variables or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **options,
            )
        try:
            ended = self._process.poll
            wait_until(lambda: ended() is not None or self._ready(), f"{self.name} is ready")
            assert ended() is None, f"{self.name} ended with {ended()}"
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}; its log ends in: {self.log.read_text(errors='replace')[-2000:]}") from None

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with all that it started, as a power cut would unless another signal is given."""
        if self._process is not None:
            end_group(self._process.pid, number)
            self._process.wait(PATIENCE_SECONDS)
            self._process = None


def end_group(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a process group by its leader."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
