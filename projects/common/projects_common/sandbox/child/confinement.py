"""Confine this process for good: its limits first, then its files, then its system calls."""

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from typing import Any

from projects_common.sandbox.child import audit, landlock, namespaces, seccomp

_DESCRIPTORS = 64


def confine(request: Mapping[str, Any], scratch: str, *, may_signal: bool = False) -> list[str]:
    """Apply all that this system offers, and return the names of the restrictions that hold.

    Args:
        request: What the process is to do.
        scratch: The folder to write into.
        may_signal: The process may send signals, as far as its system calls allow it.

    Raises:
        OSError: A part failed half-way, or the restrictions are not those that the request expects.
    """
    os.environ["HOME"] = os.environ["TMPDIR"] = scratch
    os.chdir(scratch)
    limits = {
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_FSIZE: request["file_bytes"],
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: request["cpu_seconds"],
    }
    for limit, value in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS takes none on memory; there may be a lower one already.
            resource.setrlimit(limit, (value, value))
    sys.path[:] = [path for path in sys.path if path != request["package"]]
    with contextlib.suppress(ImportError):
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401  # so that folders have been listed
    own = files = calls = ""
    if request["namespaces"]:
        own = namespaces.confine(request["mounted"], request["covered"], scratch, request["file_bytes"])
    if request["kernel"]:
        files = landlock.confine(request["mounted" if own else "readable"], [scratch], may_signal=may_signal)
        calls = seccomp.confine()
    kernel = calls and (files or own)
    inside = "" if kernel else audit.confine(request["readable"], [scratch], not calls, not (files or own))
    applied = [*filter(None, (own, files, calls, inside)), "resource limits"]
    if request["expected"] not in (None, applied):
        raise OSError(f"confined by {', '.join(applied)} only, not by {', '.join(request['expected'])}")
    return applied
