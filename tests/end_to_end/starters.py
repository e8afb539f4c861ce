"""Several processes that start the same phase at the same moment, and what became of each."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from processes import PATIENCE_SECONDS, wait_until


class Starters:
    """The processes, in the order in which they were started."""

    def __init__(self, parent: "subprocess.Popen[bytes]", count: int, folder: Path) -> None:
        self._parent, self._folder, self.count = parent, folder, count

    def process(self, number: int) -> psutil.Process:
        """The process of a starter."""
        file = self._folder / f"{number}.pid"
        wait_until(file.exists, f"starter {number} running")
        return psutil.Process(int(file.read_text()))

    def family(self, number: int) -> list[psutil.Process]:
        """The same with all that it started."""
        process = self.process(number)
        return [process, *process.children(recursive=True)]

    def text(self, number: int) -> str:
        file = self._folder / f"{number}.txt"
        return file.read_text() if file.exists() else ""

    def texts(self) -> str:
        return "\n".join(f"--- {number}\n{self.text(number)}" for number in range(self.count))

    def wait_for(self, number: int, text: str) -> None:
        ended = self._folder / f"{number}.code"
        wait_until(lambda: text in self.text(number) or ended.exists(), f"{text!r} printed by starter {number}")
        assert text in self.text(number), self.texts()

    def exit_codes(self) -> list[int]:
        """How each ended, once all have; minus the signal's number when it was killed."""
        self._parent.wait(PATIENCE_SECONDS)
        return [int((self._folder / f"{number}.code").read_text()) for number in range(self.count)]


@contextmanager
def starters(
    count: int, project: Path, experiment_id: str, variables: Mapping[str, str], **parameters: object
) -> Iterator[Starters]:
    """So many processes that call `mlflow.projects.run(..., backend="phases")` at once, killed at the block's end."""
    folder = project.parent / f"starters-{len(list(project.parent.glob('starters-*')))}"
    folder.mkdir()
    program = Path(__file__).with_name("start_at_once.py")
    words = [sys.executable, str(program), str(count), str(project), experiment_id, str(folder)]
    parent = subprocess.Popen(
        [*words, *(f"{name}={value}" for name, value in parameters.items())],
        cwd=project,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
    )
    found = Starters(parent, count, folder)
    try:
        yield found
    finally:
        family = psutil.Process(parent.pid).children(recursive=True) if parent.poll() is None else []
        parent.kill()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        parent.wait()
