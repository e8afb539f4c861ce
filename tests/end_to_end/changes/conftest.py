"""A small project of one phase in which a test changes one thing between two runs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import mlflow
import pytest

from mlflow_plugin.errors import PhaseError
from mlflow_plugin.testing import TemporaryStore, temporary_store

HOLDING = "from mlflow_plugin import start_phase\nwith start_phase() as phase:\n"


@dataclass(frozen=True)
class Answer:
    """The verdict of one start, as its newest run shows it, and whether the script was executed."""

    verdict: str
    reason: str
    computed: bool
    run_id: str


class ChangingProject:
    """A project in `folder`, an empty folder `outside` beside it, and a store; every start names its verdict."""

    def __init__(self, folder: Path, store: TemporaryStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.outside, self.store = folder / "project", folder / "outside", store
        self.monkeypatch = monkeypatch
        self.witness = folder / "witness.txt"
        self.folder.mkdir()
        self.outside.mkdir()
        self.declare()

    def declare(
        self, command: str = "python main.py", keys: str = "{}", rest: str = "", parameters: str = "{}"
    ) -> None:
        """Write the MLproject file of one phase, `main`."""
        self.write(
            "MLproject",
            f"name: changing\n{rest}\nentry_points:\n  main:\n    parameters: {parameters}\n"
            f"    command: '{command}'\n    phase: {keys}\n",
        )

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file of the project, or at an absolute path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def script(self, text: str, name: str = "main.py") -> None:
        """Write a Python script that leaves a witness when it is executed."""
        self.write(name, f"open({str(self.witness)!r}, 'a').write('x')\n{dedent(text)}")

    def start(self, entry_point: str = "main", **parameters: object) -> Answer:
        """Start the phase with `-b phases` in this process."""
        before = self._executions()
        try:
            self.run(entry_point, **parameters)
        except PhaseError as error:
            failure = str(error)
        else:
            failure = ""
        return self._answer(entry_point, before, failure)

    def run(self, entry_point: str = "main", **parameters: object) -> None:
        """Run the phase with `-b phases` in this process; raises PhaseError."""
        mlflow.projects.run(str(self.folder), entry_point, parameters=parameters, backend="phases", env_manager="local")

    def start_plainly(self, entry_point: str = "main", **parameters: object) -> Answer:
        """Start the phase with MLflow's own backend, as a user does."""
        before = self._executions()
        given = [part for name, value in parameters.items() for part in ("-P", f"{name}={value}")]
        command = [sys.executable, "-m", "mlflow", "run", str(self.folder), "-e", entry_point, "--env-manager", "local"]
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        done = subprocess.run([*command, *given], env={**os.environ, "PATH": path}, capture_output=True, text=True)
        return self._answer(entry_point, before, done.stderr if done.returncode else "")

    def _executions(self) -> int:
        return len(self.witness.read_text()) if self.witness.exists() else 0

    def _answer(self, entry_point: str, before: int, failure: str) -> Answer:
        computed = self._executions() > before
        runs = self.store.runs(entry_point)
        tags = runs[0].data.tags if runs else {}
        verdict = tags.get("phase.verdict", "")
        reason = tags.get("phase.reason", "")
        if failure and verdict != "ask":
            raise AssertionError(f"the phase failed: {failure}")
        return Answer(verdict, reason, computed, runs[0].info.run_id if runs else "")


@pytest.fixture
def changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChangingProject]:
    monkeypatch.delenv("MLFLOW_PHASES_OBSERVE", raising=False)
    with temporary_store(tmp_path / "store") as store:
        yield ChangingProject(tmp_path, store, monkeypatch)


@pytest.fixture
def runs_after(changing: ChangingProject) -> Callable[[Callable[[], object]], str]:
    """Run twice with one change in between: the first and the unchanged second are as they must be, then it runs."""

    def check(change: Callable[[], object]) -> str:
        first = changing.start()
        assert first.computed, first.reason
        again = changing.start()
        assert (again.verdict, again.computed) == ("reuse", False), again.reason
        change()
        changed = changing.start()
        assert (changed.verdict, changed.computed) == ("run", True), changed.reason
        settled = changing.start()
        assert (settled.verdict, settled.computed) == ("reuse", False), settled.reason
        return changed.reason

    return check


@pytest.fixture
def reuses_after(changing: ChangingProject) -> Callable[[Callable[[], object]], str]:
    """Run twice with one change in between that must not matter."""

    def check(change: Callable[[], object]) -> str:
        first = changing.start()
        assert first.computed, first.reason
        change()
        again = changing.start()
        assert (again.verdict, again.computed) == ("reuse", False), again.reason
        return again.reason

    return check
