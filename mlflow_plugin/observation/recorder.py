"""Record what a process tree reads: what its processes need in their environment, and what was seen so far."""

import atexit
import contextlib
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_plugin.observation.commands import may_have_read_before, only_starts_python, others_read_beside
from mlflow_plugin.observation.notification import unavailable, watched
from mlflow_plugin.observation.reading import Records
from mlflow_plugin.observation.recording import Recording
from mlflow_plugin.observation.shim import INJECTED, attach, shim

VARIABLE = "MLFLOW_PHASES_OBSERVE"
"""Names the folder of the records in the environment of every observed process."""

_HOOK = "_mlflow_phases_observing"
_PARTS = ("records", "peers", "programs", "events", "variables", "steps", "references", "notification", "observing")


class Recorder:
    """Observes a process tree. Any process of the tree, and the one that started it, can ask for what was seen.

    Args:
        folder: An existing private folder. Every process appends its records to a file of its own there.
        own: Folders of the user's own code: the project, its repository, named roots. What is looked for there and not
            found counts, and so do the environment variables that the code there reads.
        skip: What never counts: prefixes of absolute paths (the tracking store, artifacts, caches), and `host:port` of
            servers. Of two prefixes in `own` and `skip`, the longer one decides.
    """

    def __init__(self, folder: Path, *, own: Sequence[str], skip: Sequence[str]) -> None:
        self.folder = Path(folder).absolute()
        self.own, self.skip = tuple(own), tuple(skip)
        self._records = Records(self.folder)
        self._is_observing = False

    @classmethod
    def inherited(cls) -> "Recorder | None":
        """Return the recorder that has watched this process from its start, None where there is none."""
        folder = os.environ.get(VARIABLE)
        if not folder or _process.owns_the_hook:
            return None
        settings = Records(Path(folder)).settings()
        if settings is None:
            return None
        return cls(Path(folder), own=settings.own, skip=settings.skip)

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that a child process needs to be observed.

        Args:
            environment: The environment that the child would get. What its LD_PRELOAD and PYTHONPATH name stays.
        """
        found = shim()
        self._write_settings()
        python_path = [str(INJECTED), *_parts(environment, "PYTHONPATH", str(INJECTED))]
        variables = {VARIABLE: str(self.folder), "PYTHONPATH": os.pathsep.join(python_path)}
        if found.path:
            preloaded = _parts(environment, "LD_PRELOAD", str(found.path))
            variables["LD_PRELOAD"] = os.pathsep.join([*preloaded, str(found.path)])
        return variables

    def command(self, command: list[str], text: str = "") -> list[str]:
        """Return the command that starts the tree, wrapped where it can be observed in no other way.

        Args:
            command: The words of the command.
            text: What its shell is to do.
        """
        if shim().path is not None:
            return command
        self._write_settings()
        if text and not only_starts_python(text, self.own[0] if self.own else os.getcwd()):
            self._tell("C", "other programs of the command")
        return command if unavailable() else watched(command, self.folder)

    def _tell(self, kind: str, text: str) -> None:
        """Add a record of this process, which is not one of the tree."""
        with contextlib.suppress(OSError), open(self.folder / "starter.hook", "ab") as file:
            file.write(os.fsencode(f"{kind} {text}\0"))

    def observe_this_process(self) -> None:
        """Observe this process from now on, and the processes that it starts, until `close` is called.

        Nothing of it fails: what cannot be seen is said by the recording. A process has one folder of records until it
        ends, since a later phase in it inherits what was read before; the recorder's own folder stays empty then.
        """
        if _hook() is not None and not _process.owns_the_hook:
            return
        with _process.lock, contextlib.suppress(OSError):
            self.folder = _process.folder_of_records()
            self._records = Records(self.folder)
            variables = self.variables(os.environ)
            hook = _hook() or _load_hook()
            library = shim().path
            if library is not None and not hook.is_seen_below_python():
                hook.call_after_loading(attach(library, self.folder))
            _process.owns_the_hook = self._is_observing = True
            _process.enter(variables)
            hook.start(str(self.folder), later=True)
            hook.widen(self.own, self.skip)
            if may_have_read_before(self.own):
                hook.tell("q", "", "before")
            if (run_id := os.environ.get("MLFLOW_RUN_ID")) and others_read_beside(run_id):
                hook.tell("U", "", "other programs of the command")
            if (early := _process.early) is not None and early is not self:
                _process.early = None
                early.close()

    def close(self) -> None:
        """Leave the environment of this process as it was before, unless another recorder observes it still."""
        with _process.lock:
            if self._is_observing:
                self._is_observing = False
                _process.leave()

    def recording(self) -> Recording:
        """Return everything that was seen so far."""
        if (hook := _hook()) is not None:
            hook.settle()
        with unobserved():
            return self._records.recording()

    def _write_settings(self) -> None:
        """Tell the processes what to record. A process that starts twice finds the same."""
        path = self.folder / "settings"
        way, reason = ("shim", "") if shim().path else ("notification", shim().reason)
        if way == "notification" and (why := unavailable()):
            way, reason = "hook", f"{reason}; {why}"
        parts = [f"I{INJECTED}", f"P{os.getpid()}", f"W{way}", f"Y{reason}", f"B{time.time_ns()}"]
        parts += [f"O{folder}" for folder in self.own] + [f"S{folder}" for folder in (*self.skip, *_of_the_tools())]
        with contextlib.suppress(OSError):
            if not path.exists():
                fresh = path.with_name(f"settings.{os.getpid()}")
                fresh.write_bytes(b"".join(os.fsencode(part) + b"\0" for part in parts))
                os.replace(fresh, path)


class _Process:
    """What observing itself has changed in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.owns_the_hook = False
        self.early: Recorder | None = None
        self._folder: Path | None = None
        self._users = 0
        self._before: dict[str, str | None] = {}

    def folder_of_records(self) -> Path:
        """Return the folder that this process keeps until it ends; raises OSError where none can be made."""
        if self._folder is None or not self._folder.is_dir():
            self._folder = Path(tempfile.mkdtemp(prefix="mlflow-phases-process-"))
            atexit.register(_remove, self._folder, os.getpid())
        return self._folder

    def enter(self, variables: Mapping[str, str]) -> None:
        """Let the processes that this one starts be observed."""
        if not self._users:
            self._before = {name: os.environ.get(name) for name in variables}
        self._users += 1
        os.environ.update(variables)

    def leave(self) -> None:
        """Restore the environment after the last recorder."""
        self._users -= 1
        if not self._users:
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    def forget(self) -> None:
        """Drop what was recorded so far."""
        if self._folder is not None and (hook := _hook()) is not None:
            for records in self._folder.glob("*.*"):
                records.unlink(missing_ok=True)
            hook.forget()


_process = _Process()


def _remove(folder: Path, pid: int) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def observe_early() -> None:
    """Observe a script that `mlflow run` has started before its phase begins, unless its starter observes it."""
    if os.environ.get("MLFLOW_RUN_ID") and VARIABLE not in os.environ and _hook() is None:
        with contextlib.suppress(OSError):
            _process.early = Recorder(Path.cwd(), own=[os.getcwd()], skip=[])
            _process.early.observe_this_process()


def forget_this_process() -> None:
    """Let no later phase in this process inherit what was read before, as between two tests."""
    with _process.lock:
        _process.forget()


def _of_the_tools() -> list[str]:
    """Return the folders of this package, whose version is no input, and of MLflow's own settings."""
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [str(INJECTED.parents[1]), os.path.join(settings, "mlflow")]


def _parts(environment: Mapping[str, str], name: str, without: str) -> list[str]:
    """Return the entries of a list of paths in an environment; none where it is empty."""
    value = environment.get(name, "")
    return [entry for entry in value.split(os.pathsep) if entry != without] if value else []


def _hook() -> Any:
    """Return the module that observes this process, None where none does."""
    return sys.modules.get(_HOOK)


def load(part: str) -> Any:
    """Return one of the injected modules. They import each other by name, and `sys.path` stays as it is."""
    name = f"_mlflow_phases_{part}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, INJECTED / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def _load_hook() -> Any:
    return [load(part) for part in _PARTS][-1]


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Leave out what this thread reads meanwhile, what threads read that it starts, and what it runs."""
    hook = _hook()
    if hook is None:
        yield
        return
    _pass_on_to_threads(hook)
    hook.pause()
    try:
        yield
    finally:
        hook.resume()


_passing_on = False


def _pass_on_to_threads(hook: Any) -> None:
    """Let every thread that an unobserved one starts be unobserved."""
    global _passing_on
    if _passing_on:
        return
    _passing_on = True
    start = threading.Thread.start

    def start_alike(thread: threading.Thread) -> None:
        if hook.is_paused():
            thread.run = _unobserved_run(thread.run)  # type: ignore[method-assign]
        start(thread)

    threading.Thread.start = start_alike  # type: ignore[method-assign, assignment]


def _unobserved_run(run: Callable[[], None]) -> Callable[[], None]:
    def run_unobserved() -> None:
        with unobserved():
            run()

    return run_unobserved
