"""Fakes for the tests of a project: a tracking store, a clock, a preemption, and phases in this process.

    with temporary_store() as store:
        with preempted_after(3):
            killed = run_phase("my_project", "train", steps=10)
        resumed = run_phase("my_project", "train", steps=10)

The store is a real one: a new sqlite file and a folder of artifacts, in a temporary folder. It is not kept in memory,
because MLflow's searches, tags and artifacts would all have to be written a second time. An empty database is made once
and copied from then on, so that a store costs milliseconds.

Nothing here needs a test framework.
"""

import io
import json
import os
import runpy
import shlex
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
from mlflow.entities import Run
from mlflow.projects.utils import get_entry_point_command, get_or_create_run
from mlflow.projects.utils import load_project as load_mlflow_project
from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from mlflow_plugin.decision.evidence import decide_phase
from mlflow_plugin.decision.request import Decision, Request
from mlflow_plugin.errors import UsageError
from mlflow_plugin.execution.completion import complete_work
from mlflow_plugin.execution.records import Records, Work
from mlflow_plugin.machine.liveness import new_heartbeat
from mlflow_plugin.observation.recorder import forget_this_process
from mlflow_plugin.phase.active import ActivePhase
from mlflow_plugin.project.mlproject import load_project
from mlflow_plugin.store import schema
from mlflow_plugin.store.mlflow_internals import close_connections, forget_active_experiment

__all__ = [
    "FakeClock",
    "PhaseResult",
    "SimulatedProject",
    "TemporaryStore",
    "preempted_after",
    "run_phase",
    "temporary_store",
]

_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""MLflow reads this variable where it would otherwise place artifacts below the working directory."""
_OF_A_RUN = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")


# --- the store ---


@dataclass(frozen=True)
class TemporaryStore:
    """A tracking store in a folder: `mlflow.db`, and artifacts in `artifacts`. Made by `temporary_store`."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder / 'mlflow.db'}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def runs(self, entry_point: str = "") -> list[Run]:
        """Return the runs of an entry point, or all, of the default experiment; the newest first."""
        wanted = f"tags.`mlflow.project.entryPoint` = '{entry_point}'" if entry_point else ""
        return list(self.client.search_runs(["0"], wanted, order_by=["attributes.start_time DESC"]))


@contextmanager
def temporary_store(folder: Path | str | None = None) -> Iterator[TemporaryStore]:
    """Put an empty tracking store in force, here and in child processes, and put the old one back at the end.

    Args:
        folder: where to make the store; it stays there. Without it a temporary folder is made, and removed at the end.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlflow-phases-"))
        store = TemporaryStore(Path(folder).resolve())
        store.folder.mkdir(parents=True, exist_ok=True)
        artifacts = str(store.folder / "artifacts")
        shutil.copyfile(empty_database(), store.folder / "mlflow.db")
        with closing(sqlite3.connect(store.folder / "mlflow.db")) as connection, connection:
            place = "UPDATE experiments SET artifact_location = ? || '/' || experiment_id"
            connection.execute(place, (artifacts,))
        stack.enter_context(patch.dict(os.environ, {"MLFLOW_TRACKING_URI": store.uri, _ARTIFACT_ROOT: artifacts}))
        for name in _OF_A_RUN:
            os.environ.pop(name, None)
        _forget_active_run()
        try:
            yield store
        finally:
            _forget_active_run()
            close_connections(store.uri)


def empty_database() -> Path:
    """Return an sqlite tracking database without runs, of the installed MLflow. Do not write into it.

    It is made at the first call, which takes seconds, and kept in the cache folder of the user.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlflow-phases" / "testing"
    template = cache / f"empty-{VERSION}.db"
    if not template.exists():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = template.with_suffix(f".{os.getpid()}")
        MlflowClient(f"sqlite:///{unfinished}").search_experiments()
        close_connections(f"sqlite:///{unfinished}")
        unfinished.replace(template)  # Of processes that do so at once the last one wins; the files are alike.
    return template


def _forget_active_run() -> None:
    """Undo what `mlflow.start_run`, `set_experiment` and `set_tracking_uri` keep for the whole process."""
    while mlflow.active_run():
        mlflow.end_run()
    forget_active_experiment()
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]


# --- a phase in this process ---


@dataclass(frozen=True)
class PhaseResult:
    """How a phase ended: its run as the store has it, and the exit code of its script (0 also for a reused run)."""

    run: Run
    exit_code: int


def run_phase(project: Path | str, phase: str, *, experiment_id: str = "0", **parameters: object) -> PhaseResult:
    """Run the script of a phase in this process, as `mlflow run PROJECT -e PHASE` does it in another.

    Nobody is there to answer a question: pass `decide="reuse"` or `decide="rerun"`. Modules that the script imports
    from the project are forgotten at the end, so that two projects may have modules of the same name.

    Args:
        project: the folder of the MLproject file.
        phase: the entry point. Its command must be `python SCRIPT ...` or `python -m MODULE ...`.
        experiment_id: the experiment to record the run in.
        parameters: what `-P NAME=VALUE` would give.

    Raises:
        UsageError: the command of the phase is not one of Python.
        Exception: the script raised it. Its run is recorded as failed.
    """
    folder = Path(project).resolve()
    given = {name: str(value) for name, value in parameters.items()}
    (command,) = get_entry_point_command(load_mlflow_project(str(folder)), phase, given, None)
    words = _words_of_python(phase, command)
    run_id = get_or_create_run(None, str(folder), experiment_id, str(folder), None, phase, given).info.run_id
    with _as_a_process_of(folder, run_id, words):
        exit_code = _executed(words)
    return PhaseResult(MlflowClient().get_run(run_id), exit_code)


def _words_of_python(phase: str, command: str) -> list[str]:
    program, *words = shlex.split(command)
    if not Path(program).name.startswith("python") or not words:
        raise UsageError(f"{phase}: only `python SCRIPT` or `python -m MODULE` runs in this process, not `{command}`.")
    return words


def _executed(words: list[str]) -> int:
    """Run a script, or a module, as the main program; return its exit code."""
    try:
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@contextmanager
def _as_a_process_of(folder: Path, run_id: str, words: list[str]) -> Iterator[None]:
    """Give this process what a script finds: its folder, arguments and run, and a standard input without a person."""
    forget_this_process()  # Another process would not have read what this one did.
    modules = set(sys.modules)
    arguments = words[1:] if words[0] == "-m" else words
    first = folder if words[0] == "-m" else (folder / words[0]).parent
    with (
        chdir(folder),
        patch.dict(os.environ, {"MLFLOW_RUN_ID": run_id}),
        patch.object(sys, "argv", arguments),
        patch.object(sys, "path", [str(first), *sys.path]),
        patch.object(sys, "stdin", io.StringIO()),
    ):
        try:
            yield
        finally:
            for name in set(sys.modules) - modules:
                if Path(getattr(sys.modules[name], "__file__", None) or os.devnull).is_relative_to(folder):
                    del sys.modules[name]


@contextmanager
def preempted_after(steps: int, number: signal.Signals = signal.SIGTERM) -> Iterator[None]:
    """Send this process the signal of a preemption while a phase inside the block is in a step of its loop.

    The signal comes as that of a cluster does: the phase ends its step, saves a checkpoint and ends as killed. A later
    run resumes from there. It works for loops of `phase.steps` with a state, loops that call `phase.checkpoint_due`,
    and the trainer's callback.

    Args:
        steps: after how many steps of the loop in this process.
        number: SIGTERM, or SIGUSR1 for a warning before the end.

    Raises:
        UsageError: it is called in another thread than the main one, which alone gets signals.
        AssertionError: the block ended before so many steps were done.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("only the main thread gets signals: preempt a phase there.")
    done, original = 0, ActivePhase.checkpoint_due

    def checkpoint_due(phase: ActivePhase, *arguments: Any, **options: Any) -> bool:
        nonlocal done
        done += 1
        if done == steps:
            if signal.getsignal(number) is signal.SIG_DFL:
                raise UsageError(f"{phase.name} does not handle {number.name}, which would end this process.")
            signal.raise_signal(number)
        return original(phase, *arguments, **options)

    with patch.object(ActivePhase, "checkpoint_due", checkpoint_due):
        yield
    assert done >= steps, f"the phase was to be preempted after {steps} steps and did only {done}"


# --- phases without a script ---


class SimulatedProject:
    """Phases of a project that are decided and recorded as always, with files at hand in place of a script's work.

    For tests of what a project does with its history: `simulated.compute("train", {"model.txt": "..."}, {"loss": 0.1})`
    takes milliseconds, and `plan`, `find_reusable` and `run_phase` then find a finished run.

    Args:
        folder: the folder of the MLproject file.
        uri: the tracking store; the one in force unless given.
    """

    def __init__(self, folder: Path, uri: str | None = None, experiment_id: str = "0") -> None:
        self.folder, self.experiment_id = folder, experiment_id
        self.client = MlflowClient(uri)
        self.records = Records(self.client)

    def request(self, phase: str, **given: object) -> Request:
        """Return the request for a phase with these parameters."""
        project = load_project(self.folder)
        return Request(project, project.phase(phase), given, self.client, self.experiment_id, base=self.folder)

    def decide(self, phase: str, **given: object) -> Decision:
        """Decide about a phase; nothing is recorded."""
        return decide_phase(self.request(phase, **given))

    def start(self, phase: str, **given: object) -> tuple[str, Decision]:
        """Start to compute a phase, whatever the verdict would be. Return the id of its run."""
        decision = self.decide(phase, **{**given, "decide": "rerun"})
        run_id = self.records.create(decision.request)
        self.records.start(run_id, decision)
        return run_id, decision

    def finish(
        self, run_id: str, decision: Decision, files: Mapping[str, str], metrics: Mapping[str, float], seconds: float
    ) -> None:
        """Complete a run that was started, with its metrics and its outputs: the text of each file."""
        self.records.metrics(run_id, metrics)
        superseded = tuple(one.run_id for one in decision.verdict.invalidates if one.phase == decision.verdict.phase)
        with tempfile.TemporaryDirectory() as staged:
            for name, text in files.items():
                (Path(staged) / name).write_text(text, encoding="utf-8")
            work = Work(decision.request, decision.inputs, superseded)
            complete_work(self.records, run_id, work, seconds, staged=Path(staged))

    def compute(
        self,
        phase: str,
        files: Mapping[str, str],
        metrics: Mapping[str, float] | None = None,
        *,
        seconds: float = 60.0,
        **given: object,
    ) -> str:
        """Start and finish a phase. Return the id of its run.

        Args:
            phase: the entry point.
            files: the outputs, by name; each a text.
            metrics: what the run logs.
            seconds: how long it took.
            given: parameters of the phase.
        """
        run_id, decision = self.start(phase, **given)
        self.finish(run_id, decision, files, metrics or {}, seconds)
        return run_id

    def lose_heartbeat(self, run_id: str) -> None:
        """Make a run that was started look as if its process had been killed an hour ago, on this machine."""
        heartbeat = {**new_heartbeat(40), "at": time.time() - 3600, "pid": 1, "began": -1000.0}
        self.client.set_tag(run_id, schema.HEARTBEAT, json.dumps(heartbeat))


# --- the clock ---


class FakeClock:
    """A clock for mlflow_plugin that stands still until it is told to go on.

    Inside `with clock:` the package reads its time and sleeps by it, which is what ages, `max_age` and the patience
    with a silent run go by. The time module itself, MLflow and the project's code keep the real clock.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self._now = (now or datetime.now(UTC)).timestamp()
        self._monotonic = time.monotonic()
        self._stack = ExitStack()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._now += seconds
        self._monotonic += seconds

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self._now

    def time_ns(self) -> int:
        return int(self._now * 1e9)

    def monotonic(self) -> float:
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let the time of a sleep pass at once; other threads get their turn."""
        self.advance(seconds)
        time.sleep(0.001)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def __enter__(self) -> "FakeClock":
        now = _datetime_of(self)
        for name, module in list(sys.modules.items()):
            if not name.startswith("mlflow_plugin.") or name == __name__:
                continue
            if vars(module).get("time") is time:
                self._stack.enter_context(patch.object(module, "time", self))
            if vars(module).get("datetime") is datetime:
                self._stack.enter_context(patch.object(module, "datetime", now))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _datetime_of(clock: FakeClock) -> type[datetime]:
    """Return a `datetime` whose `now` is that of a clock. Every real datetime is an instance of it."""

    class Anything(type):
        def __instancecheck__(cls, one: object) -> bool:
            return isinstance(one, datetime)

    class Now(datetime, metaclass=Anything):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.fromtimestamp(clock.time(), tz)

    return Now
