"""Observe one Python process by an audit hook, from its start or from a moment later.

Where the shim is loaded it sees the files, and the hook adds what only Python knows. Standard library only, any Python
from 3.8; nothing here may raise into the program.
"""

import os
import sys
from _thread import _local

import _mlflow_phases_events as events
import _mlflow_phases_records as records

VARIABLE = "MLFLOW_PHASES_OBSERVE"
_local_state = _local()
_access = os.access


def _hook(event, arguments):
    handler = events.HANDLERS.get(event)
    if handler is None or records.observer is None:
        return
    state = _local_state.__dict__
    if state.get("busy") or state.get("paused"):
        return
    state["busy"] = True
    try:
        handler(*arguments)
    except Exception:
        pass
    finally:
        state["busy"] = False


class quietly:
    """A wrapper's work: not seen by the hook, nothing of it raised. Falsy where this thread is not observed now."""

    def __enter__(self):
        state = _local_state.__dict__
        self.on = records.observer is not None and not state.get("busy") and not state.get("paused")
        if self.on:
            state["busy"] = True
        return self.on

    def __exit__(self, kind, error, trace):
        if self.on:
            _local_state.__dict__["busy"] = False
        return kind is not None and issubclass(kind, Exception)


def pause():
    """Stop observing this thread, until `resume` is called as often."""
    state = _local_state.__dict__
    state["paused"] = state.get("paused", 0) + 1
    _tell_below_python("pause")


def resume():
    """Go on observing this thread."""
    _tell_below_python("resume")
    state = _local_state.__dict__
    state["paused"] = max(0, state.get("paused", 0) - 1)


def _tell_below_python(wish):
    """Let the shim, or the supervisor of the kernel's notifications, know what this thread wants."""
    observer = records.observer
    if observer is not None and observer.native:
        _access(records.MAGIC + wish, 0)
    elif observer is not None and observer.covered:
        try:  # noqa: SIM105 - contextlib would double the time that a start takes.
            os.close(os.open(records.MAGIC + wish, os.O_RDONLY))
        except OSError:
            pass


def is_paused():
    """Tell whether this thread is not observed now."""
    return bool(_local_state.__dict__.get("paused"))


def tell(kind, head, text=""):
    """Record something for the other modules of this folder."""
    if records.observer is not None:
        records.observer.tell(kind, head, text)


def is_own(path):
    """Tell whether a file belongs to the user's own code."""
    return records.observer is not None and records.observer.is_own(path)


def _wrap_looks():
    """Record what `os.stat` and its like find and miss: genericpath and pathlib look through these."""

    def wrap(function):
        def look(path, *arguments, **options):
            try:
                result = function(path, *arguments, **options)
            except (FileNotFoundError, NotADirectoryError):
                _looked_quietly(path, options, False)
                raise
            _looked_quietly(path, options, result)
            return result

        look.__name__, look.__qualname__, look.__doc__ = function.__name__, function.__qualname__, function.__doc__
        look.__module__, look.__wrapped__ = function.__module__, function
        return look

    for name in ("stat", "lstat", "access", "readlink"):
        function = getattr(os, name)
        wrapper = wrap(function)
        for capable in (os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks):
            if function in capable:
                capable.add(wrapper)
        setattr(os, name, wrapper)


def _looked_quietly(path, options, result):
    """Record a look; its result is false for a path that is not there, the target for a link."""
    with quietly() as on:
        if not on or isinstance(path, int):
            return
        found = records.absolute(path, options.get("dir_fd"))
        if not found:
            return
        if isinstance(result, (str, bytes)):
            records.linked(found, result)
        elif result:
            records.looked(found, result)
        elif records.state_of(found) is None:
            records.missed(found)


def _tell_loaded():
    """Record the modules of the user's own code that are loaded already."""
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in events.tops:
            events.HANDLERS["import"](top)
        file = getattr(module, "__file__", None)
        # A relative one is made up: some packages build modules in memory and give them a name of a file.
        path = records.absolute(file) if isinstance(file, str) and file[:1] == "/" else None
        if path and records.observer.is_own(path):
            path = records.source_of(path)
            records.observer.tell("M", "", path)
            if not records.observer.native:
                records.tell_read(path)


def start(folder, later=False):
    """Observe this process from now on, and record into a folder.

    Args:
        folder: Where the records go; it holds the settings.
        later: Whether this process has been running for a while: what it did before is not asked for.
    """
    if records.observer is not None:
        return
    observer = records.Observer(folder)
    prefixes = observer.read_settings()
    observer.native = bool(_access(records.MAGIC + "python", 0))
    if observer.native:
        for prefix in prefixes:
            _access(records.MAGIC + "skip" + prefix, 0)
    _local_state.__dict__["busy"] = True
    try:
        records.observe(observer)
        if not observer.native:
            observer.greet(sys.executable or "python")
        observer.covered = observer.native or (_is_notified(observer, later))
        observer.append("H", "full " if observer.covered else "python ", sys.prefix)
        for entry in sys.path:
            if "/site-packages" in entry or "/dist-packages" in entry:
                observer.append("E", "", entry)
        if not observer.native:
            _wrap_looks()
        import _mlflow_phases_variables

        _mlflow_phases_variables.wrap(sys.modules[__name__])
        _tell_loaded()
        sys.addaudithook(_hook)
    finally:
        _local_state.__dict__["busy"] = False


def _is_notified(observer, later):
    """Let the kernel tell what this process and its children open, where the recorder asks for that."""
    if not observer.notified:
        return False
    try:
        import _mlflow_phases_notification

        began = _mlflow_phases_notification.install(observer.folder)
        if began and not later and str(os.getppid()) not in observer.creator:
            # A shell started this process, and other programs beside it.
            observer.append("U", "", "other programs of the command")
        return True
    except OSError:
        return False


def widen(own, skipped):
    """Count further folders as the user's own code, and leave out further ones."""
    observer = records.observer
    observer.own += tuple(folder for folder in own if folder not in observer.own)
    observer.skipped += tuple(folder for folder in skipped if folder[:1] == "/" and folder not in observer.skipped)
    if observer.native:
        for wish, folders in (("own", own), ("skip", skipped)):
            for folder in folders:
                if folder[:1] == "/":
                    _access(records.MAGIC + wish + folder, 0)
    with quietly():
        _tell_loaded()


def forget():
    """Begin anew: record again what was recorded before."""
    _tell_below_python("forget")
    if records.observer is not None:
        records.observer.seen.clear()
        events.forget()
        observer = records.observer
        if not observer.native:
            observer.greet(sys.executable or "python")
        observer.append("H", "full " if observer.covered else "python ", sys.prefix)


def is_seen_below_python():
    """Tell whether the shim watches this process."""
    return bool(_access(records.MAGIC + "live", 0))


def settle():
    """Let the shim tell which of the files that are open for reading and writing have changed so far."""
    if records.observer is not None and records.observer.native:
        _access(records.MAGIC + "settle", 0)


def call_after_loading(function):
    """Call a function whenever the import system or ctypes has loaded a library, None for no function."""
    if function is None:
        return
    import _imp
    import ctypes

    def then_call(load):
        def load_and_call(*arguments):
            try:
                return load(*arguments)
            finally:
                function()

        return load_and_call

    _imp.create_dynamic = then_call(_imp.create_dynamic)
    if hasattr(ctypes, "_dlopen"):
        ctypes._dlopen = then_call(ctypes._dlopen)


def start_with_the_process():
    """Observe this process where its environment says so."""
    folder = os.environ.get(VARIABLE)
    if folder:
        start(folder)
