"""A project on disk with its own tracking store, run as a user would: by MLflow's local backend or by `-b phases`.

Nothing is faked: scripts run as child processes of a real `mlflow run`, and the store is a real sqlite database with a
folder of artifacts. A run inside this process costs a tenth of a second, plus two for each script that really starts;
`ProjectFolder.command` starts a process of its own and costs three seconds more.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

import mlflow
from click.testing import CliRunner
from mlflow.entities import Run
from mlflow.exceptions import ExecutionException
from mlflow.tracking import MlflowClient

from mlflow_plugin.errors import PhaseError
from tests.servers.process import PATIENCE_SECONDS

LOCAL, PHASES = "local", "phases"
ROUTES = (LOCAL, PHASES)
"""MLflow's own local backend with `--env-manager local`, and the plugin's backend."""

RECORD = "MLFLOW_TESTS_RECORD"
"""The environment variable that names the file to which each script appends its phase's name."""

RECORDING = f"""import os
with open(os.environ["{RECORD}"], "a") as record:
    record.write("PHASE\\n")
"""


def recording(phase: str) -> str:
    """Lines of a script that leave a trace of its having run, for `ProjectFolder.executed`."""
    return RECORDING.replace("PHASE", phase)


@dataclass(frozen=True)
class Result:
    """How a run ended: the exit code of the process that decided (see `ProjectFolder.run`), and all it printed."""

    exit_code: int
    text: str


class ProjectFolder:
    """A project in `folder/project` and its store in `folder/store`. Made by the fixtures in conftest.py."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.store = folder / "store"
        self._record = folder / "executed.txt"
        self.folder.mkdir(exist_ok=True)

    # --- files ---

    def write(self, files: Mapping[str, str]) -> None:
        """Write text files by their path in the project, over those that are there."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text that must occur in a file."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {path}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def prepare(self, name: str, build: Callable[["ProjectFolder"], None]) -> "ProjectFolder":
        """Bring the folder and its store to the state that `build` makes. It is built once in a test session, under
        that name, and copied from then on; call it before anything else has used the store.
        """
        kept = Path(os.environ["XDG_CACHE_HOME"]) / "prepared" / name
        if kept.exists():
            self._restore(kept)
        else:
            build(self)
            self.executed()
            self._keep(kept)
        return self

    def _keep(self, kept: Path) -> None:
        unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copytree(self.folder, unfinished / "project", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(self.store / "artifacts", unfinished / "artifacts", dirs_exist_ok=True)
        with closing(self._database()) as source, closing(sqlite3.connect(unfinished / "mlflow.db")) as copy:
            source.backup(copy)
        (unfinished / "origin").write_text(str(self.store))
        with contextlib.suppress(OSError):  # another worker was first: its folder is as good
            unfinished.rename(kept)

    def _restore(self, kept: Path) -> None:
        shutil.copytree(kept / "project", self.folder, dirs_exist_ok=True)
        shutil.copytree(kept / "artifacts", self.store / "artifacts", dirs_exist_ok=True)
        shutil.copyfile(kept / "mlflow.db", self.store / "mlflow.db")
        move = ((kept / "origin").read_text(), str(self.store))
        with closing(self._database()) as connection, connection:
            connection.execute("UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)", move)
            connection.execute("UPDATE runs SET artifact_uri = replace(artifact_uri, ?, ?)", move)

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.store / "mlflow.db")

    # --- running ---

    def run(self, entry_point: str, route: str = PHASES, **parameters: object) -> Result:
        """Run an entry point within this process through one of the ROUTES, its scripts in processes of their own.

        Nobody is there to answer a question: standard input is empty. On the local route the exit code is that of the
        entry point's own process (`mlflow run` itself says 1 for any failure); with `-b phases` that of the `mlflow`
        command.
        """
        with _captured() as output:
            exit_code = (_run_local if route == LOCAL else _run_phases)(self.folder, entry_point, parameters)
        return Result(exit_code, "".join(output))

    def command(self, *words: str, timeout: float = PATIENCE_SECONDS, stdin: str = "", **variables: str) -> Result:
        """Run a command of this environment (`mlflow`, `mlflow-phases`, `python`) in the project's folder.

        `variables` are added to the environment. Raises subprocess.TimeoutExpired after `timeout` seconds.
        """
        program = str(Path(sys.executable).parent / words[0])
        done = subprocess.run(
            [program, *words[1:]],
            cwd=self.folder,
            env={**os.environ, **variables},
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout)

    def start(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        """Like `command`, without waiting for it. Its standard input is a pipe, both outputs are one pipe."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / words[0]), *words[1:]],
            cwd=self.folder,
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def cli(self, *words: str) -> Result:
        """Run an `mlflow-phases` command within this process, in the project's folder; nobody is there to answer."""
        from mlflow_plugin.cli import main

        with patch.dict(os.environ), contextlib.chdir(self.folder):  # The command sets variables for its process.
            done = CliRunner().invoke(main, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.output)

    def executed(self) -> list[str]:
        """The phases whose scripts really ran since the last call, in order."""
        if not self._record.exists():
            return []
        lines = self._record.read_text().splitlines()
        self._record.unlink()
        return lines

    # --- the store ---

    @property
    def client(self) -> MlflowClient:
        return MlflowClient()

    def runs(self, entry_point: str = "", experiment_id: str = "0") -> list[Run]:
        """The runs of an entry point, or all of them, newest first."""
        wanted = f"tags.`mlflow.project.entryPoint` = '{entry_point}'" if entry_point else ""
        return list(self.client.search_runs([experiment_id], wanted, order_by=["attributes.start_time DESC"]))

    def newest(self, entry_point: str) -> Run:
        """The newest run of an entry point, whatever became of it."""
        return self.runs(entry_point)[0]

    def source(self, entry_point: str) -> Run:
        """The run whose outputs count for the newest run: itself, or the one that it reuses."""
        run = self.newest(entry_point)
        return self.client.get_run(run.data.tags.get("phase.reused_run_id", run.info.run_id))

    def output_file(self, run: Run, name: str = "result.json") -> Path:
        """Where a run's output lies on disk, whether it was declared to the plugin or merely logged."""
        artifacts = Path(run.info.artifact_uri)
        declared = artifacts / "outputs" / name
        return declared if declared.exists() else artifacts / name

    def output(self, run: Run, name: str = "result.json") -> Any:
        """The content of a run's JSON output."""
        return json.loads(self.output_file(run, name).read_text())


def _run_phases(folder: Path, entry_point: str, parameters: Mapping[str, object]) -> int:
    try:
        mlflow.projects.run(str(folder), entry_point, backend="phases", parameters=dict(parameters))
    except PhaseError as error:
        print(f"mlflow-phases: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run_local(folder: Path, entry_point: str, parameters: Mapping[str, object]) -> int:
    # The two halves of mlflow.projects.run, which hands back neither the run nor its process when it failed.
    submitted = mlflow.projects._run(
        uri=str(folder),
        experiment_id="0",
        entry_point=entry_point,
        version=None,
        parameters=dict(parameters),
        docker_args=None,
        backend_name="local",
        backend_config={},
        storage_dir=None,
        env_manager="local",
        synchronous=True,
        run_name=None,
        build_image=False,
        docker_auth=None,
    )
    with contextlib.suppress(ExecutionException):
        mlflow.projects._wait_for(submitted)
    return int(submitted.command_proc.returncode)


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Collects what this process and its children print, and gives them an empty standard input."""
    texts: list[str] = []
    kept = [os.dup(number) for number in range(3)]
    with TemporaryFile("w+", encoding="utf-8", errors="replace", buffering=1) as file, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield texts
        finally:
            for number, original in enumerate(kept):
                os.dup2(original, number)
                os.close(original)
            file.flush()
            file.seek(0)
            texts.append(file.read())
            print(texts[0])  # for pytest, which shows it when the test fails
