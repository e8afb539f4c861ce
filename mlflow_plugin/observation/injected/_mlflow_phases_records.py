"""The records of one process: where they go, what is left out, and the state of files in them.

What a record looks like stands in `observation/seen.py`. Standard library only, any Python from 3.8.
"""

import os
import sys
import time

MAGIC = "/.mlflow-phases/"
MOST = 390000
SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc", "/proc", "/sys", "/dev", "/run", "/System")
DATA = ("/dev/shm", "/run/media")  # People keep data there all the same.
INSTALLED = ("/site-packages/", "/dist-packages/", "/.git/", "/.pyenv/", "/lib/python3.", "/pyvenv.cfg")
UNTOLD_ABSENCE = (".pyc", ".so", "/.git", "-journal")
_stat, _open, _write, _close, _access = os.stat, os.open, os.write, os.close, os.access
_fspath, _fsdecode, _fsencode, _getcwd, _time_ns = os.fspath, os.fsdecode, os.fsencode, os.getcwd, time.time_ns
_symlink = os.symlink


class Observer:
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
        key = (kind, path) if kind not in "VPNBFQvw" else (kind, head, path)
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
            try:
                whole = _write(out, line) == len(line)
            finally:
                _close(out)
        except OSError:
            whole = False
        if not whole:
            self.fail()

    def fail(self):
        """Say that something could not be recorded. It needs neither a descriptor nor room in a file."""
        if self.native:
            _access(MAGIC + "failed", 0)
            return
        try:  # noqa: SIM105 - contextlib would double the time that a start takes.
            _symlink("failed", self.records + ".failed")
        except OSError:
            pass

    def greet(self, program):
        """Say that a program records here, where the shim does not say so."""
        self.append("h", f"0 {os.getpid()} {os.getppid()} {_time_ns()} ", program)

    def kind(self, path):
        """Return "O" below a folder of the user's own code, "S" where nothing is recorded, else "". Longest first."""
        longest, kind = 0, ""
        for prefixes, of in ((self.own, "O"), (self.skipped, "S"), (DATA, "")):
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


observer = None


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
        if observer is not None:
            _tell_links(path)
        path = os.path.realpath(path)
    return path


def _tell_links(path):
    """Behind a link `..` leads elsewhere than its text says: the links on the way there count."""
    parts = path.split("/")
    tell_links("/".join(parts[: len(parts) - 1 - parts[::-1].index("..")]))


def tell_links(path):
    """Record the links on the way to a path, each with what it holds."""
    parts = path.split("/")
    for end in range(2, len(parts) + 1):
        above = "/".join(parts[:end])
        if parts[end - 1] != ".." and os.path.islink(above) and not observer.left_out(above):
            observer.tell("l", f"{_time_ns()} {len(_fsencode(above))} ", above, os.readlink(above))


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


def state_of(path, **options):
    try:
        return _stat(path, **options)
    except (OSError, ValueError):
        return None


def tell_read(path, kind="R", moved_to=""):
    if (kind, path) in observer.seen:
        return
    state = state_of(path)
    if state is None:
        if kind == "R":
            missed(path)
    elif state.st_mode & 0o170000 == 0o100000:
        real = moved_to or os.path.realpath(path)
        times = f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino} {_time_ns()}"
        head = f"{times} {len(_fsencode(path))} "
        observer.tell(kind, head, path, real if real != path else "")


def tell_written(path, kind="W"):
    if not observer.left_out(path) and "/__pycache__/" not in path:
        observer.tell(kind, f"{_time_ns()} ", path)


def missed(path):
    """Record that a path was looked for and not found."""
    if not observer.left_out(path) and "/__pycache__" not in path and not path.endswith(UNTOLD_ABSENCE):
        observer.tell("A", f"{_time_ns()} ", path)


def looked(path, state):
    """Record that a path below the user's own folders is there, and a file's size where its state was asked for."""
    if observer.is_own(path) and "/__pycache__" not in path and not path.endswith(".pyc"):
        size = state.st_size if hasattr(state, "st_mode") and state.st_mode & 0o170000 == 0o100000 else -1
        if ("z", path) not in observer.seen:
            if size >= 0:
                observer.seen.add(("z", path))
                observer.seen.discard(("k", path))
            observer.tell("k", f"{size} {_time_ns()} ", path)


def linked(path, target):
    """Record where a link below the user's own folders leads, which was asked for."""
    if observer.is_own(path):
        observer.tell("r", f"{_time_ns()} {len(_fsencode(path))} ", path, _fsdecode(target))


def observe(by):
    """Record by an observer from now on."""
    global observer
    observer = by
