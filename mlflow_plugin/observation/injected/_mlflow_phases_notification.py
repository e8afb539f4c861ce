"""What this process and everything that it starts open, by a notification of the Linux kernel (seccomp).

Each call that opens, makes or renames a file waits until a supervisor has noted it and lets it continue. The filter
stays for good and is passed on to children. It needs neither a compiler nor special rights, but time for each call.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import sys

VARIABLE = "MLFLOW_PHASES_NOTIFIED"
_X86_64 = {
    2: "open", 85: "creat", 257: "openat", 437: "openat2", 82: "rename", 264: "renameat", 316: "renameat", 86: "rename",
    265: "renameat", 83: "mkdir", 258: "mkdirat", 88: "symlink", 266: "symlinkat", 76: "truncate", 42: "connect",
    87: "unlink", 263: "unlinkat", 80: "chdir", 59: "execve",
}  # fmt: skip
_AARCH64 = {
    56: "openat", 437: "openat2", 38: "renameat", 276: "renameat", 37: "renameat", 34: "mkdirat", 36: "symlinkat",
    45: "truncate", 203: "connect", 35: "unlinkat", 49: "chdir", 221: "execve",
}  # fmt: skip
# The kernel's name of the architecture, the number of the call that installs a filter, the calls that are told.
_ARCHITECTURES = {"x86_64": (0xC000003E, 317, _X86_64), "aarch64": (0xC00000B7, 277, _AARCH64)}
# Which arguments hold the path, the folder that it is relative to (None: the current one) and the flags.
_OPENINGS = {"open": (0, None, 1), "openat": (1, 0, 2), "openat2": (1, 0, 2), "creat": (0, None, None)}
_EVENTS = {
    "rename": ("os.rename", (0, None), (1, None)),
    "renameat": ("os.rename", (1, 0), (3, 2)),
    "mkdir": ("os.mkdir", (0, None)),
    "mkdirat": ("os.mkdir", (1, 0)),
    "symlink": ("os.symlink", (1, None), (1, None)),
    "symlinkat": ("os.symlink", (2, 1), (2, 1)),
    "truncate": ("os.truncate", (0, None)),
    "chdir": ("os.chdir", (0, None)),
    "unlink": ("os.remove", (0, None)),
    "unlinkat": ("os.remove", (1, 0)),
    "execve": ("execve", (0, None)),
}
_SET_FILTER, _NEW_LISTENER, _ALL_THREADS, _ERROR_FOR_THREADS = 1, 8, 1, 16
_RECEIVE, _SEND, _IS_VALID, _CONTINUE = 0xC0502100, 0xC0182101, 0x40082102, 1
_SECONDS = 10.0
_PAGE = 4096


def _architecture():
    found = _ARCHITECTURES.get(os.uname().machine) if sys.platform == "linux" and sys.maxsize > 2**32 else None
    if found is None:
        raise OSError("notifications of the kernel are used on Linux for x86-64 and aarch64 alone")
    return found


def _install_filter():
    """Install the filter in all threads of this process and return the descriptor of its listener."""
    architecture, seccomp, calls = _architecture()
    program = [(0x20, 0, 0, 4), (0x15, 0, len(calls) + 1, architecture), (0x20, 0, 0, 0)]
    for at, number in enumerate(calls):
        program.append((0x15, len(calls) - at, 0, number))
    program += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x7FC00000)]
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code)

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    filter_program = Program(len(program), ctypes.addressof(buffer))
    library = ctypes.CDLL(None, use_errno=True)
    library.syscall.restype = ctypes.c_long
    if library.prctl(38, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not let this process give up rights")
    flags = _NEW_LISTENER | _ALL_THREADS | _ERROR_FOR_THREADS
    listener = library.syscall(seccomp, _SET_FILTER, flags, ctypes.byref(filter_program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "the kernel does not let this process install a filter")
    return listener


def _may_read_others():
    """Raise OSError where the supervisor could not read the paths that a child of this process opens."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope") as file:
            scope = file.read().strip()
    except OSError:
        return
    if scope != "0" and os.geteuid() != 0:
        raise OSError("kernel.yama.ptrace_scope is not 0")


def install(folder):
    """Let a supervisor note what this process and its children open, from now on; raises OSError where it cannot.

    Returns:
        Whether this call began it; false where the process that started this one had begun it.
    """
    if os.environ.get(VARIABLE) == folder:
        return False
    _architecture()
    _may_read_others()
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(_SECONDS)
        os.set_inheritable(there.fileno(), True)
        command = [sys.executable, "-I", "-S", __file__, "supervise", str(there.fileno()), folder]
        environment = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "PYTHONPATH")}
        child = os.posix_spawn(sys.executable, command, environment)
        there.close()
        os.waitpid(child, 0)
        if here.recv(1) != b"r":
            raise OSError("the supervisor did not start")
        listener = _install_filter()
        # From here on nothing may open a file in this thread before the supervisor has the listener.
        here.sendmsg([b"l"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", listener))])
        here.recv(1)
        os.close(listener)
    os.environ[VARIABLE] = folder
    return True


class _Supervisor:
    """Answers every notification, and notes each path at its first."""

    def __init__(self, folder):
        sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
        import _mlflow_phases_events as events

        self.events, self.listener = events, -1
        self.calls = _architecture()[2]
        self.paused = {}  # Thread -> how often it asked not to be observed.
        events.start_elsewhere(folder)
        library = ctypes.CDLL(None, use_errno=True)
        self.read_memory = library.process_vm_readv
        self.buffer = ctypes.create_string_buffer(2 * _PAGE)
        self.local = (ctypes.c_uint64 * 2)(ctypes.addressof(self.buffer), 2 * _PAGE)
        self.remote = (ctypes.c_uint64 * 4)()

    def serve(self):
        """Answer until nobody is left who could ask."""
        poll = select.poll()
        poll.register(self.listener, select.POLLIN)
        empty = bytes(80)
        request = bytearray(80)
        while True:
            events = poll.poll()
            if not any(event & select.POLLIN for _, event in events):
                return
            request[:] = empty
            try:
                fcntl.ioctl(self.listener, _RECEIVE, request, True)
            except OSError:  # Who asked is gone, or a signal came.
                continue
            number, task = struct.unpack_from("<Q", request)[0], struct.unpack_from("<I", request, 8)[0]
            call = self.calls.get(struct.unpack_from("<i", request, 16)[0], "")
            with contextlib.suppress(Exception):  # Nothing of it may keep the program waiting.
                self._note(task, call, struct.unpack_from("<6Q", request, 32))
            with contextlib.suppress(OSError):
                fcntl.ioctl(self.listener, _SEND, bytearray(struct.pack("<QqiI", number, 0, 0, _CONTINUE)), True)

    def _memory(self, task, address, most=_PAGE):
        """Read from another process, over the end of a page only where the next one is there."""
        first = min(_PAGE - address % _PAGE, most)
        self.remote[:] = (address, first, address + first, max(0, most - first))
        got = self.read_memory(task, ctypes.byref(self.local), 1, ctypes.byref(self.remote), 2, 0)
        if got < 0 and ctypes.get_errno() == errno.EPERM:
            self.events.records.observer.tell("X", "hidden ", _program(task))
        return self.buffer.raw[: max(0, got)]

    def _path(self, task, address, folder=-100):
        path = os.fsdecode(self._memory(task, address).partition(b"\0")[0])
        if not path.startswith("/"):
            folder = ctypes.c_int(folder & 0xFFFFFFFF).value
            base = "cwd" if folder == -100 else f"fd/{folder}"
            path = f"{os.readlink(f'/proc/{task}/{base}')}/{path}"
        return path

    def _note(self, task, call, arguments):
        if call in _OPENINGS:
            path, folder, flags = _OPENINGS[call]
            opened = self._path(task, arguments[path], -100 if folder is None else arguments[folder])
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if flags is None else arguments[flags]
            if call == "openat2":
                flags = struct.unpack("<Q", self._memory(task, flags, 8))[0]
            self._note_opening(task, opened, flags)
        elif task in self.paused:
            return
        elif call == "connect":
            self._note_peer(task, self._memory(task, arguments[1], min(110, arguments[2])))
        else:
            event, *places = _EVENTS[call]
            found = [self._path(task, arguments[p], -100 if f is None else arguments[f]) for p, f in places]
            self.events.note(event, *found)

    def _note_opening(self, task, path, flags):
        if path.startswith(self.events.records.MAGIC):
            wish = path.rpartition("/")[2]
            if wish == "forget":
                self.events.records.observer.seen.clear()
                self.events.forget()
                return
            self.paused[task] = self.paused.get(task, 0) + (1 if wish == "pause" else -1)
            if self.paused[task] <= 0:
                del self.paused[task]
        elif task not in self.paused:
            self.events.note_opening(path, flags)

    def _note_peer(self, task, address):
        family = struct.unpack_from("H", address)[0]
        if family == socket.AF_UNIX:
            path = os.fsdecode(address[2:].partition(b"\0")[0])
            if path:
                path = path if path.startswith("/") else os.readlink(f"/proc/{task}/cwd") + "/" + path
                self.events.records.observer.tell("u", "", path)
            return
        port = struct.unpack_from("!H", address, 2)[0]
        if family in (socket.AF_INET, socket.AF_INET6) and port not in (0, 53):
            packed = address[4:8] if family == socket.AF_INET else address[8:24]
            self.events.records.observer.tell("P", f"{socket.inet_ntop(family, packed)} {port} ")


def _program(task):
    """Return the name of a program that may not be read, as the kernel shows it to everybody."""
    try:
        with open(f"/proc/{task}/comm") as file:
            return file.read().strip()
    except OSError:
        return "a program"


def _supervise(descriptor, folder):
    """Become a process of its own that no signal to the program's group ends, and serve."""
    if os.fork():
        os._exit(0)
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        if standard != descriptor:
            os.dup2(null, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 4096)
    channel = socket.socket(fileno=descriptor)
    # All that can fail comes first: a filter whose supervisor is gone lets no file be opened.
    supervisor = _Supervisor(folder)
    channel.send(b"r")
    _, extra, _, _ = channel.recvmsg(1, socket.CMSG_LEN(4))
    supervisor.listener = struct.unpack("i", extra[0][2][:4])[0]
    supervisor.events.records.observer.tell("H", "full ", "all programs")
    channel.send(b"k")
    channel.close()
    supervisor.serve()


def _run(folder, command):
    """Start a command that is observed, in place of this process."""
    with contextlib.suppress(OSError):  # The processes of the command find out themselves, and say so.
        install(folder)
    os.execvp(command[0], command)


if __name__ == "__main__":
    if sys.argv[1] == "supervise":
        _supervise(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "run":
        _run(sys.argv[2], sys.argv[3:])
    else:
        _install_filter()
