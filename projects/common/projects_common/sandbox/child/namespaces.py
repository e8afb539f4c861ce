"""Give a process a file system of its own: Python's files read-only, and a scratch folder of bounded size (namespaces).

Nothing else has a name in it, so nothing else can be opened, listed or asked about. The scratch folder is in memory and
its size holds for files without a name too. It needs no rights, but not every system lets an ordinary user do it.
Source: mount_namespaces(7), user_namespaces(7), pivot_root(2).
"""

import ctypes
import os
import struct
import sys
from collections.abc import Sequence

NAME = "namespaces"

_NEW_USER, _NEW_FOLDERS, _NEW_IPC = 0x10000000, 0x00020000, 0x08000000
_NO_SETUID, _NO_DEVICES, _BIND, _RECURSIVE, _PRIVATE, _DETACH = 2, 4, 4096, 16384, 1 << 18, 2
_MOUNT_SETATTR, _READ_ONLY, _BELOW = 442, 1, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPABILITIES_VERSION = 0x20080522
_LINKS = ("/lib", "/lib32", "/lib64", "/usr/lib64", "/bin", "/sbin")
"""Names that many systems keep for a folder below /usr; the loader of shared libraries looks there."""


def confine(readable: Sequence[str], covered: Sequence[str], scratch: str, size: int) -> str:
    """Enter a file system that has only `readable` and an empty `scratch`; return "" if this system refuses that.

    Args:
        readable: Files and folders, shown where they are.
        covered: Folders below them that are shown empty.
        scratch: The folder to write into.
        size: Bytes that all its files may have.

    Raises:
        OSError: The file system was entered in part: this process must not go on.
    """
    pivot = _PIVOT_ROOT.get(os.uname().machine) if sys.platform == "linux" else None
    if pivot is None:
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_USER | _NEW_FOLDERS | _NEW_IPC):
        return ""
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{user} {user} 1")
        _write("/proc/self/gid_map", f"{group} {group} 1")
        _mount(libc, "none", "/", "", _RECURSIVE | _PRIVATE)
        _mount(libc, "tmpfs", scratch, "tmpfs", _NO_SETUID, "size=1m,mode=755")
    except OSError:
        return ""  # Nothing has changed yet but names of users.
    _build(libc, readable, covered, scratch)
    inside = _place(scratch, scratch)
    os.makedirs(inside, exist_ok=True)
    _make_read_only(libc, scratch)
    entries = max(64, size // 4096)
    _mount(libc, "tmpfs", inside, "tmpfs", _NO_SETUID | _NO_DEVICES, f"size={size},nr_inodes={entries},mode=700")
    os.chdir(scratch)
    _checked(libc.syscall(pivot, b".", b"."), "pivot_root")
    _checked(libc.umount2(b".", _DETACH), "umount")
    os.chdir(scratch)
    _drop_capabilities(libc)
    return NAME


def _build(libc: ctypes.CDLL, readable: Sequence[str], covered: Sequence[str], root: str) -> None:
    for link in _LINKS:
        if os.path.islink(link):
            os.makedirs(os.path.dirname(_place(root, link)), exist_ok=True)
            os.symlink(os.readlink(link), _place(root, link))
    for path in readable:
        target = _place(root, path)
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        elif os.path.exists(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
        else:
            continue
        _mount(libc, path, target, "", _BIND | _RECURSIVE)
    for path in covered:
        _mount(libc, "tmpfs", _place(root, path), "tmpfs", _NO_SETUID | _NO_DEVICES, "size=4k,nr_inodes=1,mode=000")


def _place(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _write(path: str, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    given = (os.fsencode(source), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags))
    _checked(libc.mount(*given, options.encode() or None), f"mount {target}")


def _make_read_only(libc: ctypes.CDLL, root: str) -> None:
    attributes = struct.pack("QQQQ", _READ_ONLY, 0, 0, 0)
    _checked(libc.syscall(_MOUNT_SETATTR, -100, os.fsencode(root), _BELOW, attributes, 32), "mount_setattr")


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    header, none = struct.pack("Ii", _CAPABILITIES_VERSION, 0), bytes(24)
    _checked(libc.capset(header, none), "capset")


def _checked(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
