"""Find the shim that sees what native readers and child programs open, or build it once with the C compiler."""

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

INJECTED = Path(__file__).with_name("injected")
"""The folder that stands on the PYTHONPATH of an observed process."""

_SOURCE = INJECTED / "shim.c"
_FLAGS = (
    "-O2",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-ftls-model=initial-exec",
    "-fno-delete-null-pointer-checks",
    "-Wl,-Bsymbolic",
)
_SECONDS_TO_BUILD = 60
_logger = logging.getLogger(__name__)


class Shim(NamedTuple):
    """The library to preload, or the reason why there is none."""

    path: Path | None
    reason: str = ""


@cache
def shim() -> Shim:
    """Return the shim for this machine, built at its first use and kept in the user's cache folder."""
    if sys.platform != "linux":
        return Shim(None, f"the shim exists for Linux alone, and this is {platform.system()}")
    prebuilt = _SOURCE.with_suffix(".so")
    if prebuilt.is_file() and not _fault(prebuilt):
        return Shim(prebuilt)
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    name = f"shim-{_digest()}.so"
    reason = "no C compiler was found (cc, gcc, clang)"
    for folder in _folders():
        kept = folder / name
        if _is_ours(kept) and not _fault(kept):
            return Shim(kept)
        if compiler is None:
            continue
        try:
            reason = _build(compiler, kept)
        except (OSError, subprocess.SubprocessError) as error:
            reason = f"it could not be built: {error}"
        if not reason:
            _logger.info("Built the library that sees what native readers open: %s.", kept)
            return Shim(kept)
    return Shim(None, reason)


def attach(library: Path, folder: Path) -> Callable[[], None] | None:
    """Let the shim watch this process, which was started without it.

    Returns:
        What is to be called whenever a library was loaded; None where this process cannot be watched.
    """
    try:
        loaded = ctypes.CDLL(str(library))
        if loaded.mlflow_phases_attach(os.fsencode(folder)):
            return None
    except (OSError, AttributeError):
        return None
    lead: Callable[[], None] = loaded.mlflow_phases_lead
    return lead


def run_briefly(
    command: list[str], seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program without input and return what it printed. Raises OSError, and SubprocessError after so long."""
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
    )


def _digest() -> str:
    """Name what a built library depends on."""
    about = "\n".join([platform.machine(), *platform.libc_ver(), *_FLAGS])
    sources = sorted([_SOURCE, *INJECTED.glob("*.h")])
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources) + about.encode()).hexdigest()[:16]


def _folders() -> list[Path]:
    """Return where a built library may be kept, best first."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [Path(caches, "mlflow-phases"), Path(tempfile.gettempdir(), f"mlflow-phases-{os.getuid()}")]


def _is_ours(path: Path) -> bool:
    """Tell whether only this user can have written a file and its folder."""
    try:
        states = [path.lstat(), path.parent.lstat()]
    except OSError:
        return False
    return stat.S_ISREG(states[0].st_mode) and all(s.st_uid == os.geteuid() and not s.st_mode & 0o022 for s in states)


def _build(compiler: str, into: Path) -> str:
    """Compile the shim and move it into place; return the reason why not, empty where it is there."""
    into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=into.parent, suffix=".so")
    os.close(handle)
    fresh = Path(name)
    try:
        command = [compiler, *_FLAGS, "-o", name, str(_SOURCE), "-ldl"]
        done = run_briefly(command, _SECONDS_TO_BUILD, {**os.environ, "LC_ALL": "C"})
        if done.returncode:
            return f"{compiler} could not build it: {(done.stderr.strip().splitlines() or ['no message'])[0]}"
        fresh.chmod(0o700)
        if fault := _fault(fresh):
            return fault
        os.replace(fresh, into)
    finally:
        fresh.unlink(missing_ok=True)
    return "" if _is_ours(into) else f"others can write to {into.parent}"


def _fault(library: Path) -> str:
    """Return the reason why a library cannot be preloaded, empty where it can."""
    if " " in str(library) or ":" in str(library):
        return f"{library} has a space or a colon in its path, which LD_PRELOAD cannot hold"
    program = shutil.which("true") or "/bin/true"
    try:
        done = run_briefly([program], 10, {"LD_PRELOAD": str(library)})
    except (OSError, subprocess.SubprocessError) as error:
        return f"{program} did not run with it: {error}"
    if done.returncode or done.stderr.strip():
        return f"{program} did not run with it: {done.stderr.strip() or done.returncode}"
    return ""
