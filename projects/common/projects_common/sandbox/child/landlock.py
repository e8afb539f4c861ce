"""Restrict the files that a process can open, by the kernel (Landlock).

Source: Linux, Documentation/userspace-api/landlock.rst. The three system calls have one number on all architectures.
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG = 1, 2, 4, 8, 32, 256
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1
_SOCKETS, _SIGNALS = 1, 2
READ = _READ_FILE | _READ_DIR
SCRATCH = READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE  # no folders, so that what is in it is soon counted
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE


def _handled(abi: int) -> int:
    """Return the rights on files that a kernel of this ABI knows."""
    later = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEVICE))
    return _FIRST | sum(right for since, right in later if abi >= since)


def confine(readable: Iterable[str], writable: Iterable[str], *, may_signal: bool = False) -> str:
    """Allow this process only `readable` to read and `writable` to write; return "" if the kernel does not offer it.

    From ABI 4 it allows no TCP, from ABI 6 no abstract sockets either, and no signals to others.

    Args:
        readable: Files and folders.
        writable: Folders.
        may_signal: Allow signals. Else the kernel would hold back also the one by which children end with this process.
    """
    if sys.platform != "linux":
        return ""
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return ""
    handled = _handled(abi)
    scoped = _SOCKETS if may_signal else _SOCKETS | _SIGNALS
    attributes = struct.pack("QQQ", handled, 3, scoped)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = libc.syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        return ""
    try:
        for rights, paths in ((READ, readable), (SCRATCH, writable)):
            for path in paths:
                _allow(libc, ruleset, path, rights & handled)
        if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(_RESTRICT, ruleset, 0):
            return ""
    finally:
        os.close(ruleset)
    return f"Landlock {abi}"


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # It is not there, so there is nothing to allow.
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, descriptor)
        if libc.syscall(_ADD_RULE, ruleset, 1, rule, 0):
            raise OSError(ctypes.get_errno(), "Landlock refused a rule", path)
    finally:
        os.close(descriptor)
