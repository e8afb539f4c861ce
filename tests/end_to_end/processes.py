"""Commands that run beside a test: what they print, and their end, waited for with a deadline."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from project_folder import LOCAL, ProjectFolder

from tests.servers.process import PATIENCE_SECONDS, wait_until


class Started:
    """A command with all its descendants, its outputs in one file."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path) -> None:
        self.process, self._output = process, output

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, text: str) -> None:
        """Wait until the command has printed a text. Raises AssertionError when it ends without."""
        wait_until(lambda: text in self.text or self.process.poll() is not None, f"{text!r} printed")
        assert text in self.text, self.text

    def wait(self) -> int:
        """The exit code, once the command has ended."""
        return self.process.wait(PATIENCE_SECONDS)

    def family(self) -> list[psutil.Process]:
        """The command's process and all that it started."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal_all(self, number: signal.Signals) -> None:
        """Signal every process, as a terminal does at Ctrl-C."""
        for member in self.family():
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)


def _as_at_a_terminal() -> None:
    # A shell without job control lets what it starts in the background ignore Ctrl-C, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def started(project: ProjectFolder, *words: str, **variables: str) -> Iterator[Started]:
    """A command of this environment in the project's folder, killed with its family at the end of the block."""
    number = len(list(project.folder.parent.glob("output-*.txt")))
    output = project.folder.parent / f"output-{number}.txt"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / words[0]), *words[1:]],
            cwd=project.folder,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            preexec_fn=_as_at_a_terminal,
        )
    running = Started(process, output)
    try:
        yield running
    finally:
        running.signal_all(signal.SIGKILL)
        process.wait()


def run_words(entry_point: str, route: str, **parameters: object) -> list[str]:
    """The `mlflow run` command of a route."""
    words = ["mlflow", "run", ".", "-e", entry_point]
    words += ["--env-manager", "local"] if route == LOCAL else ["-b", route]
    return words + [word for name, value in parameters.items() for word in ("-P", f"{name}={value}")]
