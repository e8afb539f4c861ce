"""What one Python process opens, lists, imports and connects to, by an audit hook.

Where the shim is loaded it sees the files, and the hook adds what only Python knows. The records are described in
`observation/reading.py`. Standard library only, any Python from 3.8; nothing here may raise into the program.
"""

import os
import sys
import time
from _thread import _local

MAGIC = "/.mlflow-phases/"
VARIABLE = "MLFLOW_PHASES_OBSERVE"
MOST = 200000
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run", "/System")
INSTALLED = ("/site-packages/", "/dist-packages/", "/.git/", "/lib/python3.", "/pyvenv.cfg")
UNTOLD_ABSENCE = (".pyc", ".so", "/.git", "-journal", "-wal")
_NATIVE = (
    "pyarrow polars duckdb h5py netCDF4 tables safetensors tokenizers sentencepiece cv2 rasterio fiona pyogrio osgeo"
    " tensorflow lmdb av decord torchcodec soundfile faiss llama_cpp onnxruntime pysam SimpleITK xgboost lightgbm"
    " catboost fasttext rpy2 jpype pyspark"
)
NATIVE_READERS = frozenset(_NATIVE.split())
# Frames of these are the import system's, or show source text in messages: they do not read for the program.
IMPORTING = ("<frozen importlib", "<frozen zipimport", "<frozen runpy", "<frozen site")
MACHINERY = ("importlib", "importlib_metadata", "pkg_resources")
_FILES = "pkgutil zipimport runpy linecache tokenize traceback inspect site py_compile"
MACHINERY_FILES = tuple(f"/{name}.py" for name in _FILES.split())

_local_state = _local()
_stat, _open, _write, _close, _access = os.stat, os.open, os.write, os.close, os.access
_fspath, _fsdecode, _fsencode, _getcwd, _time_ns = os.fspath, os.fsdecode, os.fsencode, os.getcwd, time.time_ns


class _Observer:
    """The state of this process: where records go, and what was told already."""

    def __init__(self, folder):
        self.folder = folder
        self.own, self.skipped, self.notified, self.creator = (), (), False, []
        self.seen = set()
        self.native = False  # The shim sees the files, and nothing is recorded twice.
        self.covered = False  # The shim or the kernel's notification sees what native readers and children open.
        self.records = ""
        self.last_host = {}

    def read_settings(self):
        with open(self.folder + "/settings", "rb") as file:
            settings = [_fsdecode(part) for part in file.read().split(b"\0") if part]
        self.own = tuple(part[1:] for part in settings if part[0] == "O")
        self.notified = "Wnotification" in settings
        self.creator = [part[1:] for part in settings if part[0] == "P"]
        skipped = [part[1:] for part in settings if part[0] in "SI" and part[1] == "/"]
        interpreter = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix} - {"/", "/usr"}
        self.skipped = tuple(skipped) + SYSTEM + (self.folder,) + tuple(interpreter)
        self.records = f"{self.folder}/{os.getpid()}-{_time_ns()}.hook"
        return interpreter

    def tell(self, kind, head, path="", second=""):
        """Append one record, unless the same was told before."""
        key = (kind, path) if kind not in "VPNBF" else (kind, head, path)
        if key in self.seen:
            return
        if len(self.seen) >= MOST:
            if len(self.seen) > MOST:
                return
            kind, head, path, second = "Z", "", "", ""
        self.seen.add(key)
        self.append(kind, head, path + second)

    def append(self, kind, head="", path=""):
        line = b"%s %s%s\0" % (kind.encode(), _fsencode(head), _fsencode(path))
        try:
            out = _open(self.records, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            _write(out, line)
        finally:
            _close(out)

    def kind(self, path):
        """Return "O" below a folder of the user's own code, "S" where nothing is recorded, else "". Longest first."""
        longest, kind = 0, ""
        for prefixes, of in ((self.own, "O"), (self.skipped, "S")):
            for prefix in prefixes:
                if (
                    len(prefix) >= longest
                    and path.startswith(prefix)
                    and path[len(prefix) : len(prefix) + 1] in ("", "/")
                ):
                    longest, kind = len(prefix), of
        return kind

    def left_out(self, path):
        return self.kind(path) == "S" or any(part in path for part in INSTALLED)

    def is_own(self, path):
        return self.kind(path) == "O" and not any(part in path for part in INSTALLED)


_observer = None
_opened_before = set()


def absolute(path, folder=None):
    """Return the absolute path as text without `//` and `/./`, or None for a descriptor and what is no path."""
    if isinstance(path, int):
        return None
    path = _fsdecode(_fspath(path))
    if not path.startswith("/"):
        if folder is not None and folder != -1:
            try:
                path = os.readlink(f"/proc/self/fd/{folder}") + "/" + path
            except OSError:
                return None
        else:
            path = _getcwd() + "/" + path
    if "//" in path or "/./" in path or path.endswith(("/", "/.")):
        path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    if "/../" in path or path.endswith("/.."):
        path = os.path.realpath(path)
    return path


def source_of(path):
    """Return the source of a file of bytecode, where that exists; else the path itself."""
    folder, separator, name = path.partition("/__pycache__/")
    if separator and name.endswith(".pyc"):
        source = f"{folder}/{name.partition('.')[0]}.py"
        try:
            _stat(source)
            return source
        except OSError:
            pass
    return path


def _state(path, **options):
    try:
        return _stat(path, **options)
    except (OSError, ValueError):
        return None


def _tell_read(path, kind="R"):
    if (kind, path) in _observer.seen:
        return
    state = _state(path)
    if state is None:
        if kind == "R":
            missed(path)
    elif state.st_mode & 0o170000 == 0o100000:
        real = os.path.realpath(path)
        times = f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino} {_time_ns()}"
        head = f"{times} {len(_fsencode(path))} "
        _observer.tell(kind, head, path, real if real != path else "")


def _tell_written(path, kind="W"):
    if not _observer.left_out(path) and "/__pycache__/" not in path:
        _observer.tell(kind, f"{_time_ns()} ", path)


def missed(path):
    """Record that a path below the user's own folders was looked for and not found."""
    if _observer.is_own(path) and "/__pycache__" not in path and not path.endswith(UNTOLD_ABSENCE):
        _observer.tell("A", f"{_time_ns()} ", path)


def _caller():
    """Return the file of the frame whose call raised the event; empty where C code did."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame.f_code.co_filename if frame is not None else ""


def _is_importing(caller):
    return caller.startswith(IMPORTING) or any(f"/{name}/" in caller for name in MACHINERY)


def _is_machinery(caller):
    return not caller or _is_importing(caller) or caller.endswith(MACHINERY_FILES)


def _opened(path, mode, flags):
    # A repeated opening ends here. Python files are told apart by the caller.
    key = (path, flags) if isinstance(path, str) and path[:1] == "/" else (_getcwd(), path, flags)
    if key in _opened_before:
        return
    path = absolute(path)
    if path is None:
        return
    if not _observer.left_out(path):
        is_python = path.endswith((".py", ".pyc"))
        if is_python:
            path = source_of(path)
            _tell_python(path)
        if not _observer.native and not _tell_opened(path, flags):
            return
        if is_python:
            return
    if len(_opened_before) < MOST:
        _opened_before.add(key)


def _tell_python(path):
    """Record that a Python file is imported, or read as text."""
    caller = _caller()
    if _is_importing(caller):
        _observer.tell("M", "", path)
    elif not _is_machinery(caller) and path.endswith(".py"):
        _observer.tell("T", "", path)


def _tell_opened(path, flags):
    """Record what an opening reads and writes; false where the file is not there yet."""
    access = flags & 3
    writes = access != os.O_RDONLY
    reads = access == os.O_RDONLY or (access == os.O_RDWR and not flags & os.O_TRUNC)
    if reads and (not writes or getattr(_state(path), "st_size", 0)):
        _tell_read(path)
    state = _state(path)
    if writes and (state is None or state.st_mode & 0o170000 == 0o100000):
        _tell_written(os.path.realpath(path))
    return state is not None


def _listed(path=None):
    caller = _caller()
    if _is_importing(caller) or caller.endswith("/pkgutil.py"):
        if _observer.native:
            _access(MAGIC + "listing", 0)
        elif _observer.covered and not isinstance(path, int):
            _observer.tell("i", "", absolute(path if path is not None else "."))
        return
    if _observer.native:
        return
    path = absolute(path if path is not None else ".") if not isinstance(path, int) else None
    if path and not _observer.left_out(path):
        state = _state(path)
        if state is None:
            missed(path)
        else:
            _observer.tell("L", f"{state.st_mtime_ns} {_time_ns()} ", os.path.realpath(path))


def _imported(module, filename=None, *_):
    top = module.partition(".")[0]
    if top not in _tops:
        _tops.add(top)
        if top not in _STANDARD and not top.startswith("_"):
            _observer.append("J", "", top)
            if top in NATIVE_READERS and not _observer.covered:
                _observer.append("I", "", top)
        if top == "mlflow":
            import _mlflow_phases_references

            _mlflow_phases_references.wrap_when_imported(sys.modules[__name__])
    if filename:
        path = absolute(filename)
        if path and not _observer.left_out(path):
            _observer.tell("M", "", path)


_tops = set()
_STANDARD = frozenset(getattr(sys, "stdlib_module_names", ())) | frozenset(sys.builtin_module_names)


def _connected(sock, address):
    if _observer.native or not isinstance(address, tuple) or sock.family not in (2, 10, 30) or sock.type & 15 != 1:
        return
    host, port = address[:2]
    host = _observer.last_host.get(port, host) if _is_address(host) else host
    _observer.tell("P", f"{host} {port} ")


def _is_address(host):
    return isinstance(host, str) and (":" in host or host.replace(".", "").isdigit())


def _looked_up(host, port, *_):
    if not _observer.native and host and not _is_address(host):
        _observer.last_host[port if isinstance(port, int) else -1] = _fsdecode(host)


def _bound(sock, address):
    if not _observer.native and isinstance(address, tuple):
        _observer.tell("B", f"{address[0]} {address[1]} ")


def _connected_to_sqlite(database, *_):
    if _observer.native or not isinstance(database, (str, bytes, os.PathLike)):
        return
    text = _fsdecode(_fspath(database))
    if text.startswith("file:"):
        text = text[5:].partition("?")[0]
    path = absolute(text) if text and not text.startswith(":memory:") else None
    if path and not _observer.left_out(path):
        if getattr(_state(path), "st_size", 0):
            _tell_read(path)
        _tell_written(os.path.realpath(path))


def _started(program, arguments=(), *_):
    if _observer.covered:
        return
    name = _name(program)
    if name in ("sh", "bash", "dash", "zsh") and isinstance(arguments, (list, tuple)) and len(arguments) > 2:
        name = _name(_fsdecode(arguments[2]).strip().partition(" ")[0]) or name
    if name and not name.startswith("python"):
        _observer.tell("C", "", name)


def _name(program):
    return _fsdecode(_fspath(program)).rpartition("/")[2] if program else ""


def _popened(executable, arguments, *_):
    if isinstance(arguments, (str, bytes, os.PathLike)):
        arguments = [arguments]
    _started(executable or (arguments[0] if arguments else ""), arguments)


def _ran(command):
    _started("sh", ["sh", "-c", command])


def _moved(source, destination, source_folder=-1, destination_folder=-1):
    if _observer.native:
        return
    source, destination = absolute(source, source_folder), absolute(destination, destination_folder)
    state = _state(source) if source else None
    if state is None or not destination:
        return
    if state.st_mode & 0o170000 == 0o040000:
        _tell_written(destination, "G")
        return
    if not _observer.left_out(source) and "/__pycache__/" not in source:
        _tell_read(source, "m")
    _tell_written(destination)


def _made_folder(path, mode=0, folder=-1):
    path = None if _observer.native else absolute(path, folder)
    if path and _state(path) is None:
        _tell_written(path, "G")


def _made_link(source, destination, folder=-1):
    path = None if _observer.native else absolute(destination, folder)
    if path and _state(path, follow_symlinks=False) is None:
        _tell_written(path, "S")


def _truncated(path, *_):
    path = None if _observer.native else absolute(path)
    if path:
        _tell_written(path)


_HANDLERS = {
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "import": _imported,
    "socket.connect": _connected,
    "socket.getaddrinfo": _looked_up,
    "socket.bind": _bound,
    "sqlite3.connect": _connected_to_sqlite,
    "subprocess.Popen": _popened,
    "os.exec": _started,
    "os.posix_spawn": _started,
    "os.system": _ran,
    "os.rename": _moved,
    "os.link": _moved,
    "os.mkdir": _made_folder,
    "os.symlink": _made_link,
    "os.truncate": _truncated,
}


def _hook(event, arguments):
    handler = _HANDLERS.get(event)
    if handler is None or _observer is None:
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
        self.on = _observer is not None and not state.get("busy") and not state.get("paused")
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
    if _observer is not None and _observer.native:
        _access(MAGIC + "pause", 0)


def resume():
    """Go on observing this thread."""
    if _observer is not None and _observer.native:
        _access(MAGIC + "resume", 0)
    state = _local_state.__dict__
    state["paused"] = max(0, state.get("paused", 0) - 1)


def is_paused():
    """Tell whether this thread is not observed now."""
    return bool(_local_state.__dict__.get("paused"))


def tell(kind, head, text=""):
    """Record something for the other modules of this folder."""
    if _observer is not None:
        _observer.tell(kind, head, text)


def is_own(path):
    """Tell whether a file belongs to the user's own code."""
    return _observer is not None and _observer.is_own(path)


def _wrap_looks():
    """Record what `os.stat` and `os.access` do not find: genericpath and pathlib look through these."""

    def wrap(function):
        def look(path, *arguments, **options):
            try:
                result = function(path, *arguments, **options)
            except (FileNotFoundError, NotADirectoryError):
                _missed_quietly(path, options)
                raise
            if result is False:
                _missed_quietly(path, options)
            return result

        look.__name__, look.__qualname__, look.__doc__ = function.__name__, function.__qualname__, function.__doc__
        look.__module__, look.__wrapped__ = function.__module__, function
        return look

    for name in ("stat", "access"):
        function = getattr(os, name)
        wrapper = wrap(function)
        for capable in (os.supports_dir_fd, os.supports_effective_ids, os.supports_fd, os.supports_follow_symlinks):
            if function in capable:
                capable.add(wrapper)
        setattr(os, name, wrapper)


def _missed_quietly(path, options):
    with quietly() as on:
        if on and not isinstance(path, int):
            found = absolute(path, options.get("dir_fd"))
            if found and _state(found) is None:
                missed(found)


def _tell_loaded():
    """Record the modules of the user's own code that are loaded already."""
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in _tops:
            _imported(top)
        file = getattr(module, "__file__", None)
        path = absolute(file) if isinstance(file, str) else None
        if path and _observer.is_own(path):
            path = source_of(path)
            _observer.tell("M", "", path)
            if not _observer.native:
                _tell_read(path)


def start(folder, later=False):
    """Observe this process from now on, and record into a folder.

    Args:
        folder: Where the records go; it holds the settings.
        later: Whether this process has been running for a while: what it did before is not asked for.
    """
    global _observer
    if _observer is not None:
        return
    observer = _Observer(folder)
    prefixes = observer.read_settings()
    observer.native = bool(_access(MAGIC + "python", 0))
    if observer.native:
        for prefix in prefixes:
            _access(MAGIC + "skip" + prefix, 0)
    _local_state.__dict__["busy"] = True
    try:
        _observer = observer
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


def start_elsewhere(folder):
    """Record what other processes open, as they tell it."""
    global _observer
    _observer = _Observer(folder)
    _observer.read_settings()
    _observer.records = f"{folder}/{os.getpid()}-{_time_ns()}.notified"


def note_opening(path, flags):
    """Record an opening, or a listing, of another process."""
    key = (path, flags)
    if key in _opened_before:
        return
    path = absolute(path)
    if path is None or flags & 0o10000000:  # O_PATH
        return
    if not _observer.left_out(path):
        if flags & os.O_DIRECTORY:
            note("os.listdir", path)
        elif not _tell_opened(source_of(path), flags):
            return
    if len(_opened_before) < MOST:
        _opened_before.add(key)


def note(event, *arguments):
    """Record an event of another process as if it were one of this."""
    _HANDLERS[event](*arguments)


def is_seen_below_python():
    """Tell whether the shim watches this process."""
    return bool(_access(MAGIC + "live", 0))


def call_after_loading(function):
    """Call a function whenever the import system has loaded an extension module, None for no function."""
    if function is None:
        return
    import _imp

    create = _imp.create_dynamic

    def create_dynamic(*arguments):
        try:
            return create(*arguments)
        finally:
            function()

    _imp.create_dynamic = create_dynamic


def start_with_the_process():
    """Observe this process where its environment says so."""
    folder = os.environ.get(VARIABLE)
    if folder:
        start(folder)
