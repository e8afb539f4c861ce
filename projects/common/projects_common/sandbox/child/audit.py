"""Refuse system access from within Python, where the kernel confines nothing: an audit hook. It is weaker than the
kernel, since code made for it can get round it: a guard against accidents.
"""

import _posixsubprocess
import os
import sys
from collections.abc import Sequence
from typing import Any

_REFUSED = ("socket.", "subprocess.", "ctypes.", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.kill", "pty.")
_REFUSED_NAMES = {"os.system", "os.chmod", "os.chown", "os.symlink", "os.link", "os.mkdir"}
_REFUSED_MODULES = {"_multiprocessing", "_posixshmem"}
_LISTED = {"os.listdir", "os.scandir"}
_CHANGED = {"os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.truncate": 1, "os.utime": 1, "shutil.rmtree": 1}
"""How many of the first arguments of an event are paths that it changes."""


def confine(readable: Sequence[str], writable: Sequence[str], processes: bool, files: bool) -> str:
    """Refuse new processes and sockets, and files other than these, from now on, by PermissionError."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (processes and _reaches_out(event, arguments)) or (files and _touches(event, arguments, readable, writable)):
            raise PermissionError(1, f"{event} is not permitted here")

    if processes:
        vars(_posixsubprocess)["fork_exec"] = _no_process  # The one way to a new process that raises no audit event.
    sys.addaudithook(hook)
    return "audit hook"


def _no_process(*_: object) -> int:
    raise PermissionError(1, "starting a process is not permitted here")


def _reaches_out(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "socket.__new__" and arguments[1] == 1:  # AF_UNIX, which asyncio needs; connecting it is refused
        return False
    if event == "import":
        return arguments[0] in _REFUSED_MODULES
    return event.startswith(_REFUSED) or event in _REFUSED_NAMES


def _touches(event: str, arguments: tuple[Any, ...], readable: Sequence[str], writable: Sequence[str]) -> bool:
    """Tell if the event reads or changes a file that it may not."""
    if event == "open":
        path, mode, flags = arguments
        changes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        writes = set(mode) - set("rbtU") if mode is not None else flags & changes
        return not _below(path, writable if writes else [*readable, *writable])
    if event in _LISTED:
        return not _below("." if arguments[0] is None else arguments[0], [*readable, *writable])
    return not all(_below(path, writable) for path in arguments[: _CHANGED.get(event, 0)])


def _below(path: Any, folders: Sequence[str]) -> bool:
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))
    return any(os.path.commonpath([real, folder]) == folder for folder in map(os.path.realpath, folders))
