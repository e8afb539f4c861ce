"""What each audit event of Python tells: openings, listings, imports, connections and programs that are started."""

import os
import sys
from time import time_ns as _time_ns

import _mlflow_phases_peers as peers
import _mlflow_phases_programs as programs
import _mlflow_phases_records as records

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


_fspath, _fsdecode, _fsencode, _getcwd, _access = os.fspath, os.fsdecode, os.fsencode, os.getcwd, os.access
_HERE = __file__.rpartition("/")[0] + "/"
_opened_before = set()


def _caller():
    """Return the file of the frame whose call raised the event; empty where C code did."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
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
    path = records.absolute(path)
    if path is None:
        return
    if not records.observer.left_out(path):
        is_python = path.endswith((".py", ".pyc"))
        if is_python:
            path = records.source_of(path)
            _tell_python(path)
        if not records.observer.native and not _tell_opened(path, flags):
            return
        if is_python:
            return
    if len(_opened_before) < records.MOST:
        _opened_before.add(key)


def _tell_python(path):
    """Record that a Python file is imported, or read as text."""
    caller = _caller()
    if _is_importing(caller):
        records.observer.tell("M", "", path)
        if path.endswith(".py") and _is_handed_out():
            records.observer.tell("T", "", path)
    elif not _is_machinery(caller) and path.endswith(".py"):
        records.observer.tell("T", "", path)


def _is_handed_out():
    """Tell if a loader was asked for the bytes of a file, as `pkgutil.get_data` does, and not for a module."""
    frame = sys._getframe(2)
    names = set()
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(IMPORTING):
            names.add(frame.f_code.co_name)
        elif not file.startswith(_HERE):
            break
        frame = frame.f_back
    return names == {"get_data"}


def _tell_opened(path, flags):
    """Record what an opening reads and writes; false where the file is not there yet."""
    access = flags & 3
    writes = access != os.O_RDONLY
    state = records.state_of(path)
    if not writes:
        records.tell_read(path)
    elif state is not None and not flags & os.O_TRUNC:
        # What it held stays, and is read if the file is read at any time.
        records.tell_read(path, "R" if access == os.O_RDWR else "K")
    if writes and (state is None or state.st_mode & 0o170000 == 0o100000):
        records.tell_written(os.path.realpath(path))
    return state is not None


def _listed(path=None):
    caller = _caller()
    if _is_importing(caller) or caller.endswith("/pkgutil.py"):
        if records.observer.native:
            _access(records.MAGIC + "listing", 0)
        elif records.observer.covered and not isinstance(path, int):
            records.observer.tell("i", "", records.absolute(path if path is not None else "."))
        return
    if records.observer.native:
        return
    path = records.absolute(path if path is not None else ".") if not isinstance(path, int) else None
    if path and not records.observer.left_out(path):
        state = records.state_of(path)
        if state is None:
            records.missed(path)
        else:
            real = os.path.realpath(path)
            head = f"{state.st_mtime_ns} {_time_ns()} {_sum_of_names(path)} {len(_fsencode(path))} "
            records.observer.tell("L", head, path, real if real != path else "")


def _sum_of_names(path):
    """Return a number for the names in a folder, 0 where it cannot be listed."""
    import zlib

    try:
        return sum(zlib.crc32(_fsencode(name)) for name in os.listdir(path))
    except OSError:
        return 0


def _imported(module, filename=None, *_):
    top = module.partition(".")[0]
    if top not in tops:
        tops.add(top)
        if top not in _STANDARD and not top.startswith("_"):
            records.observer.append("J", "", top)
            if top in NATIVE_READERS and not records.observer.covered:
                records.observer.append("I", "", top)
        if top == "mlflow":
            # Finding the module lists the folders of sys.path, the project's too, and that is not the phase's doing.
            _access(records.MAGIC + "pause", 0)
            try:
                import _mlflow_phases_references
            finally:
                _access(records.MAGIC + "resume", 0)

            _mlflow_phases_references.wrap_when_imported(sys.modules["_mlflow_phases_observing"])
    if filename:
        path = records.absolute(filename)
        if path and not records.observer.left_out(path):
            records.observer.tell("M", "", path)


tops = set()
_STANDARD = frozenset(getattr(sys, "stdlib_module_names", ())) | frozenset(sys.builtin_module_names)


def _connected_to_sqlite(database, *_):
    if records.observer.native or not isinstance(database, (str, bytes, os.PathLike)):
        return
    text = _fsdecode(_fspath(database))
    if text.startswith("file:"):
        text = text[5:].partition("?")[0]
    path = records.absolute(text) if text and not text.startswith(":memory:") else None
    if path and not records.observer.left_out(path):
        if getattr(records.state_of(path), "st_size", 0):
            records.tell_read(path)
            records.tell_read(path + "-wal")
        records.tell_written(os.path.realpath(path))


def _moved(source, destination, source_folder=-1, destination_folder=-1):
    if records.observer.native:
        return
    source, destination = records.absolute(source, source_folder), records.absolute(destination, destination_folder)
    state = records.state_of(source) if source else None
    if state is None or not destination:
        return
    counts = not records.observer.left_out(source) and "/__pycache__/" not in source
    if state.st_mode & 0o170000 == 0o040000:
        if counts:
            records.observer.append("g", f"{_time_ns()} {len(_fsencode(source))} ", source + destination)
        else:
            records.tell_written(destination, "G")
        return
    if counts:
        records.tell_read(source, "m", destination)
    records.tell_written(destination)


def _made_folder(path, mode=0, folder=-1):
    path = None if records.observer.native else records.absolute(path, folder)
    if path:
        records.tell_written(path, "G" if records.state_of(path) is None else "y")


def _made_link(source, destination, folder=-1):
    path = None if records.observer.native else records.absolute(destination, folder)
    if path and records.state_of(path, follow_symlinks=False) is None:
        records.tell_written(path, "S")


def _truncated(path, length=1, *_):
    path = None if records.observer.native else records.absolute(path)
    if path:
        if length:
            records.tell_read(path, "K")
        records.tell_written(path)


def _removed(path, folder=-1):
    path = None if records.observer.native else records.absolute(path, folder)
    if path and not records.observer.left_out(path) and "/__pycache__/" not in path:
        records.observer.append("d", f"{_time_ns()} ", path)


def _changed_folder(path):
    """From now on relative paths have the path that the folder leads to."""
    path = None if records.observer.native else records.absolute(path)
    if path:
        records.tell_links(path)


HANDLERS = {
    "open": _opened,
    "os.listdir": _listed,
    "os.scandir": _listed,
    "import": _imported,
    "socket.connect": peers.connected,
    "socket.sendto": peers.sent,
    "socket.sendmsg": peers.sent,
    "socket.getaddrinfo": peers.looked_up,
    "socket.bind": peers.bound,
    "sqlite3.connect": _connected_to_sqlite,
    "subprocess.Popen": programs.popened,
    "execve": programs.executed,
    "os.exec": programs.started,
    "os.posix_spawn": programs.started,
    "os.system": programs.ran,
    "ctypes.dlopen": programs.loaded,
    "ctypes.dlsym": programs.found_in_library,
    "os.rename": _moved,
    "os.link": _moved,
    "os.mkdir": _made_folder,
    "os.symlink": _made_link,
    "os.truncate": _truncated,
    "os.remove": _removed,
    "os.chdir": _changed_folder,
}


def forget():
    """Tell again what was told before."""
    _opened_before.clear()


def start_elsewhere(folder):
    """Record what other processes open, as they tell it."""
    records.observe(records.Observer(folder))
    records.observer.read_settings()
    records.observer.records = f"{folder}/{os.getpid()}-{_time_ns()}.notified"
    records.observer.greet("a program")


def note_opening(path, flags):
    """Record an opening, or a listing, of another process."""
    key = (path, flags)
    if key in _opened_before:
        return
    path = records.absolute(path)
    if path is None or flags & 0o10000000:  # O_PATH
        return
    if not records.observer.left_out(path):
        if flags & os.O_DIRECTORY:
            records.tell_links(path)
            note("os.listdir", path)
        elif not _tell_opened(records.source_of(path), flags):
            return
    if len(_opened_before) < records.MOST:
        _opened_before.add(key)


def note(event, *arguments):
    """Record an event of another process as if it were one of this."""
    HANDLERS[event](*arguments)
