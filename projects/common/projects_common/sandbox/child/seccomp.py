"""Restrict the system calls of a process to those of Python code that computes (seccomp).

Sources: Linux, Documentation/userspace-api/seccomp_filter.rst; numbers from asm/unistd_64.h and asm-generic/unistd.h.
"""

import ctypes
import errno
import os
import struct
import sys

Condition = tuple[int, int, int]
"""(32-bit word of the arguments, mask, value): argument n has the words 2n (low) and 2n + 1 (high)."""

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# fmt: off
ALLOWED: dict[str, tuple[int | None, int | None]] = {  # name: number on x86_64, on aarch64
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "close": (3, 57), "close_range": (436, 436),
    "stat": (4, None), "lstat": (6, None), "fstat": (5, 80), "newfstatat": (262, 79), "statx": (332, 291),
    "statfs": (137, 43), "fstatfs": (138, 44), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78), "getdents64": (217, 61),
    "getcwd": (79, 17), "chdir": (80, 49), "lseek": (8, 62), "ftruncate": (77, 46), "fsync": (74, 82),
    "fdatasync": (75, 83), "flock": (73, 32), "fadvise64": (221, 223), "copy_file_range": (326, 285),
    "sendfile": (40, 71), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38),
    "renameat2": (316, 276), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "pipe": (22, None),
    "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "sendto": (44, 206), "recvfrom": (45, 207), "shutdown": (48, 210),
    "getsockname": (51, 204), "getpeername": (52, 205), "getsockopt": (55, 209),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233),
    "msync": (26, 227), "mincore": (27, 232), "brk": (12, 214), "futex": (202, 98), "set_robust_list": (273, 99),
    "set_tid_address": (218, 96), "rseq": (334, 293), "membarrier": (324, 283), "arch_prctl": (158, None),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153), "getrusage": (98, 165),
    "getrlimit": (97, 163), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getpgid": (121, 155), "getpgrp": (111, None),
    "getsid": (124, 156), "getuid": (102, 174), "getgid": (104, 176), "geteuid": (107, 175), "getegid": (108, 177),
    "getgroups": (115, 158), "uname": (63, 160), "sysinfo": (99, 179), "umask": (95, 166), "getrandom": (318, 278),
    "wait4": (61, 260), "exit": (60, 93), "exit_group": (231, 94),
}
# Refused with EPERM, which Python shows as PermissionError; whatever stands nowhere is refused with ENOSYS.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "tkill": (200, 130), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88), "truncate": (76, 45),
    "symlink": (88, None), "symlinkat": (266, 36), "link": (86, None), "linkat": (265, 37), "mknod": (133, None),
    "mknodat": (259, 33), "setrlimit": (160, 164), "setuid": (105, 146), "setgid": (106, 144), "setsid": (112, 157),
    "setpgid": (109, 154), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "prctl": (157, 167),
    "memfd_create": (319, 279), "shmget": (29, 194), "bpf": (321, 280), "reboot": (169, 142),
}
# fmt: on

_CLONE = (56, 220)
_THREAD = 0x00010000
_NO_NAME = 0x00400000
_UNIX, _STREAM = 1, 1
# Of terminals: what they are, how wide; of descriptors: inherited or not, blocking or not, how much to read.
_IOCTLS = (0x5401, 0x5413, 0x5421, 0x541B, 0x5450, 0x5451)
# Duplicates, flags, locks, the size of a pipe. Not F_SETOWN, by which signals reach other processes.
_FCNTLS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)


def _conditional(pid: int) -> list[tuple[tuple[int | None, int | None], list[list[Condition]]]]:
    """Return system calls that are allowed if all conditions of one list hold, else refused with EPERM."""
    everything = 0xFFFFFFFF
    return [
        (_CLONE, [[(0, _THREAD, _THREAD)]]),
        ((2, None), [[(2, _NO_NAME, 0)]]),  # open, but not files that never had a name
        ((257, 56), [[(4, _NO_NAME, 0)]]),  # openat
        ((62, 129), [[(0, everything, pid)]]),  # kill
        ((234, 131), [[(0, everything, pid)]]),  # tgkill
        ((53, 199), [[(0, everything, _UNIX), (2, 0xF, _STREAM)]]),  # socketpair, which asyncio needs
        ((16, 29), [[(2, everything, request)] for request in _IOCTLS]),
        ((72, 25), [[(2, everything, command)] for command in _FCNTLS]),
        # prlimit64, to read its own limits, never to set them
        ((302, 261), [[(0, everything, of), (4, everything, 0), (5, everything, 0)] for of in (0, pid)]),
    ]


_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_KILL, _FAIL, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


def _instruction(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, jump_true, jump_false, k)


def _alternative(conditions: list[Condition]) -> list[bytes]:
    """Return ALLOW if every condition holds, else continue behind itself."""
    code: list[bytes] = []
    left = 3 * len(conditions) + 1
    for word, mask, value in conditions:
        code += [_instruction(_LOAD, _ARGUMENTS + 4 * word), _instruction(_AND, mask)]
        left -= 3
        code.append(_instruction(_EQUAL, value, 0, left))
    return [*code, _instruction(_RETURN, _ALLOW)]


def program(column: int, architecture: int, pid: int) -> bytes:
    """Return the filter as BPF, for one architecture (its column in the tables and its AUDIT_ARCH) and one process."""
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
    ]
    answers = [(numbers[column], _ALLOW) for numbers in ALLOWED.values()]
    answers += [(numbers[column], _FAIL | errno.EPERM) for numbers in REFUSED.values()]
    for number, answer in answers:
        if number is not None:
            code += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, answer)]
    for numbers, alternatives in _conditional(pid):
        if numbers[column] is None:
            continue
        body = b"".join(b"".join(_alternative(conditions)) for conditions in alternatives)
        refused = _instruction(_RETURN, _FAIL | errno.EPERM)
        length = len(body + refused) // len(refused)
        code += [_instruction(_EQUAL, int(numbers[column]), 0, length), body, refused]
    # ENOSYS rather than EPERM: the C library then falls back on the older call, as from clone3 to clone.
    code.append(_instruction(_RETURN, _FAIL | errno.ENOSYS))
    return b"".join(code)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def confine() -> str:
    """Install the filter in this process for good. Return "" if the kernel does not offer it."""
    found = _ARCHITECTURES.get(os.uname().machine) if sys.platform == "linux" else None
    if found is None or ctypes.sizeof(ctypes.c_void_p) != 8:
        return ""
    column, architecture = found
    code = program(column, architecture, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    instructions = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(instructions), 0, 0):
        return ""
    return "seccomp"
